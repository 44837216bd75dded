"""Frozen dataclasses with slots, made and copied as quickly as Python lets it be.

The constructor of a frozen dataclass sets each field by a call of `object.__setattr__`, and
`dataclasses.replace` asks every field of every copy what it is: for records of twenty fields both
take longer than what the record is made for. Here a class has a twin, which has the same slots and
is not frozen. An object is filled as its twin, by plain assignments, and then becomes what it is.
Nobody else sees it before that. What comes of it is the same as the library's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

Kind = TypeVar("Kind", bound=type[Any])
_TWINS: Final[dict[type[Any], type[Any]]] = {}
_COPIERS: Final[dict[tuple[Any, ...], Callable[[Any, dict[str, Any]], Any]]] = {}
"""(class, names of changed fields in order) -> what makes the copy"""
_BY_FACTORY: Final = object()
"""Stands for a default that is made anew each time."""


def quick(kind: Kind) -> Kind:
    """Class decorator above `dataclass(slots=True)`: the same constructor, quicker. Classes that it
    cannot do it for stay as they are."""
    if _is_plain(kind):
        known = kind.__init__

        @wraps(known)
        def first(record: Any, /, *args: Any, **values: Any) -> None:
            # Made when it is used first: most processes need few of all classes.
            if kind.__init__ is first:
                kind.__init__ = _constructor(kind, known)
            kind.__init__(record, *args, **values)

        kind.__init__ = first
    return kind


if TYPE_CHECKING:
    # Its changes are checked field by field where it is used.
    from dataclasses import replace as replace
else:

    def replace(record, /, **changes):
        """The record with some fields changed; TypeError for one that it does not have."""
        copier = _COPIERS.get((record.__class__, *changes))
        if copier is None:
            copier = _copier(record.__class__, tuple(changes))
        return copier(record, changes)


def _is_plain(kind: type[Any]) -> bool:
    """Whether a dataclass has all its fields in slots of its own, and takes them all as given."""
    fields = dataclasses.fields(kind)
    return (
        kind.__bases__ == (object,)
        and not hasattr(kind, "__post_init__")
        and all(field.init for field in fields)
        and set(vars(kind).get("__slots__", ())) == {field.name for field in fields}
    )


def _twin_of(kind: type[Any]) -> type[Any]:
    """A class whose objects can become those of `kind`, and can be assigned to."""
    found = _TWINS.get(kind)
    if found is None:
        slots = {"__slots__": vars(kind)["__slots__"], "__module__": kind.__module__}
        found = _TWINS[kind] = type(f"{kind.__name__}Twin", (), slots)
    return found


def _constructor(kind: type[Any], known: Any) -> Callable[..., None]:
    fields = dataclasses.fields(kind)
    place: dict[str, Any] = {
        "_kind_": kind,
        "_twin_": _twin_of(kind),
        "_known_": known,
        "_become_": object.__setattr__,
        "_by_factory_": _BY_FACTORY,
    }
    given: list[str] = []
    named: list[str] = []
    lines: list[str] = []
    for field in fields:
        name, value, text = field.name, field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            place[f"_make_{name}_"] = field.default_factory
            text = f"{name}=_by_factory_"
            value = f"_make_{name}_() if {name} is _by_factory_ else {name}"
        elif field.default is not dataclasses.MISSING:
            place[f"_default_{name}_"] = field.default
            text = f"{name}=_default_{name}_"
        (named if field.kw_only else given).append(text)
        lines.append(f"    _self_.{name} = {value}")
    arguments = ", ".join(["_self_", *given, *(["*", *named] if named else [])])
    made = _compiled(
        [
            f"def __init__({arguments}):",
            # Of a class below this one the library's constructor knows the rules.
            "    if _self_.__class__ is not _kind_:",
            f"        return _below_(_self_, {_passed_on(fields)})",
            "    _become_(_self_, '__class__', _twin_)",
            *lines,
            "    _self_.__class__ = _kind_",
        ],
        {**place, "_below_": _below(known)},
        "__init__",
    )
    return wraps(known)(made)


def _passed_on(fields: Iterable[Any]) -> str:
    return ", ".join(f"{field.name}={field.name}" for field in fields)


def _below(known: Any) -> Callable[..., None]:
    def construct(record: Any, /, **values: Any) -> None:
        known(record, **{name: one for name, one in values.items() if one is not _BY_FACTORY})

    return construct


def _copier(kind: type[Any], names: tuple[str, ...]) -> Callable[[Any, dict[str, Any]], Any]:
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {min(unknown)}")
    if _is_plain(kind):
        values = [f"_new_['{name}']" if name in names else f"_old_.{name}" for name in known]
        found = _compiled(
            [
                "def copy(_old_, _new_):",
                "    _made_ = _make_(_twin_)",
                *(f"    _made_.{name} = {one}" for name, one in zip(known, values, strict=True)),
                "    _made_.__class__ = _kind_",
                "    return _made_",
            ],
            {"_kind_": kind, "_twin_": _twin_of(kind), "_make_": object.__new__},
            "copy",
        )
    else:

        def found(record: Any, changes: dict[str, Any]) -> Any:
            return dataclasses.replace(record, **changes)

    _COPIERS[kind, *names] = found
    return found


def _compiled(lines: list[str], place: dict[str, Any], name: str) -> Callable[..., Any]:
    """A function of its text, as dataclasses makes its own; names are those of the class alone."""
    exec("\n".join(lines), place)
    made: Callable[..., Any] = place[name]
    return made
