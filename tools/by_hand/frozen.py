"""Frozen dataclasses with slots, made and copied as quickly as Python lets it be.

The constructor of a frozen dataclass sets each field by a call of `object.__setattr__`, and
`dataclasses.replace` asks every field of every copy what it is: for records of twenty fields both
take longer than what the record is made for. msgspec makes and copies objects in C. Here a class
that is written as a dataclass becomes one of msgspec's, with the same fields, defaults and methods;
what the library says about dataclasses it says about these too.
"""

from __future__ import annotations

import dataclasses
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

Kind = TypeVar("Kind", bound=type[Any])
_OF_LIBRARY: Final = frozenset(
    {
        "__annotations__",
        "__delattr__",
        "__eq__",
        "__getstate__",
        "__hash__",
        "__init__",
        "__match_args__",
        "__repr__",
        "__setattr__",
        "__setstate__",
        "__slots__",
    }
)
"""What `dataclass` puts into a class, and msgspec does for itself."""


def quick(kind: Kind) -> Kind:
    """Class decorator above `dataclass(frozen=True, slots=True)`: the same class, quicker. Classes
    that it cannot do it for stay as they are."""
    return _made(kind, is_collected=True) if _is_plain(kind) else kind


def acyclic(kind: Kind) -> Kind:
    """`quick`, for a class from whose values no way leads back to them: strings, numbers, enums,
    tuples and maps of such, and other acyclic records. Python's collector of cycles is not told of
    them, which saves each its 16 bytes and both ends of its life some time.

    What is in a cycle in spite of that is never freed, so a test looks at what each field may be.
    Raises TypeError for a class that `quick` would leave as it is.
    """
    if not _is_plain(kind):
        raise TypeError(f"{kind.__name__} is no frozen dataclass with slots of its own")
    return _made(kind, is_collected=False)


def _made(kind: Kind, *, is_collected: bool) -> Kind:
    own = {
        name: value
        for name, value in vars(kind).items()
        if name not in _OF_LIBRARY and not isinstance(value, MemberDescriptorType)
    }
    fields = [_defined(field) for field in dataclasses.fields(kind)]
    # By place, as columns come (runtime.columns), those that must be given are first.
    fields.sort(key=len)
    made = msgspec.defstruct(kind.__name__, fields, namespace=own, frozen=True, gc=is_collected)
    return cast(Kind, made)


if TYPE_CHECKING:
    # Its changes are checked field by field where it is used.
    from dataclasses import replace as replace
else:
    replace = msgspec.structs.replace


def _is_plain(kind: type[Any]) -> bool:
    """Whether a dataclass is frozen and has all its fields in slots of its own, as given."""
    fields, made_by = dataclasses.fields(kind), vars(kind)["__dataclass_params__"]
    return (
        kind.__bases__ == (object,)
        and made_by.frozen
        and not hasattr(kind, "__post_init__")
        and all(field.init for field in fields)
        and set(vars(kind).get("__slots__", ())) == {field.name for field in fields}
    )


def _defined(field: Any) -> tuple[Any, ...]:
    if field.default is not dataclasses.MISSING:
        return field.name, field.type, field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.name, field.type, msgspec.field(default_factory=field.default_factory)
    return field.name, field.type
