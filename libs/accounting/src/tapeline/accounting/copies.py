"""`replace` for frozen dataclasses with slots, as quick as Python lets it be.

A step of an order's life makes some eighty changed copies of states and records. The library's
`dataclasses.replace` asks every field of every copy what it is, and hands all of them to a
constructor by name. Here a function is made once for each class and set of changed fields, which
copies the other slots one by one. What it gives is the same; a class without slots, or one that
wants its constructor to be called (`__post_init__`, fields not given to it), gets the library's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

_MAKERS: Final[dict[tuple[Any, ...], Callable[..., Any]]] = {}
"""(class, names of changed fields in order) -> what makes the copy"""


if TYPE_CHECKING:
    # Its changes are checked field by field where it is used.
    from dataclasses import replace as replace
else:

    def replace(record, /, **changes):
        """The record with some fields changed; TypeError for one that it does not have."""
        maker = _MAKERS.get((record.__class__, *changes))
        if maker is None:
            maker = _maker(record.__class__, tuple(changes))
        return maker(record, **changes)


def _maker(kind: type[Any], names: tuple[str, ...]) -> Callable[..., Any]:
    fields = dataclasses.fields(kind)
    known = [field.name for field in fields]
    if set(names) - set(known):
        raise TypeError(f"{kind.__name__} has no field {sorted(set(names) - set(known))[0]}")
    is_plain = (
        not hasattr(kind, "__post_init__")
        and all(field.init for field in fields)
        and all(hasattr(vars(kind).get(name), "__set__") for name in known)
    )
    maker = _compiled(kind, known, names) if is_plain else dataclasses.replace
    _MAKERS[kind, *names] = maker
    return maker


def _compiled(kind: type[Any], known: list[str], names: tuple[str, ...]) -> Callable[..., Any]:
    """A function of the record and the changed fields; names are those of the dataclass alone."""
    place: dict[str, Any] = {f"set_{name}": vars(kind)[name].__set__ for name in known}
    place |= {"_kind_": kind, "_new_": object.__new__}
    values = [name if name in names else f"_old_.{name}" for name in known]
    lines = [f"    set_{name}(_made_, {value})" for name, value in zip(known, values, strict=True)]
    heading = f"def make(_old_, /, {'*, ' if names else ''}{', '.join(names)}):"
    source = "\n".join([heading, "    _made_ = _new_(_kind_)", *lines, "    return _made_"])
    exec(source, place)  # noqa: S102 - as dataclasses makes its own methods
    made: Callable[..., Any] = place["make"]
    return made
