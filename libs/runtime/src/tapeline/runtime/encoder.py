"""Avro bodies of our own records, written straight from their fields.

The Avro library takes a dictionary and works out for every field that may be null which branch its
value fits; for a decision or an approval that is most of the time. Here a function for each type
is made once from the schema, and that of a record names its fields one by one. The bytes are those
of the library, to which the tests compare them.

Only what our schemas hold is known: unions are of null and one type (tools/generate_contracts.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from tapeline.contracts.finite import finite, in_range

Write = Callable[[Any], bytes]
SCALE: Final = 18
_SCALED: Final = Context(prec=60, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
_SHORT_END: Final = 64
_SHORT: Final = tuple(bytes([2 * length]) for length in range(_SHORT_END))
"""Lengths that take one byte."""
_DOUBLE: Final = struct.Struct("<d")
_EMPTY: Final = "empty"
_TEXTS_MAX: Final = 8192
_INNER: Final = ("items", "values", "type")
_NULL, _PRESENT, _END = b"\x00", b"\x02", b"\x00"


@dataclass(slots=True)
class Writers:
    """Those of the named types that are made so far. Schemas of one world share them, so that the
    bytes of a record are known wherever it is a part of another."""

    by_name: dict[str, Write] = field(default_factory=dict)
    numbers: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    """of the symbols of each enum"""


def writer_of(schema: Any, known: Writers | None = None) -> Write:
    """The function that writes the body of a record of a parsed schema, with all types inside."""
    return _writer(schema, Writers() if known is None else known, "")


def digest_writer_of(schema: Any, known: Writers | None = None) -> Write:
    """The same with fields that are outside digests left empty: what `without_mac` would encode,
    without the copies. Its writers are others than those of `writer_of`."""
    return _writer(_blanked(schema), Writers() if known is None else known, "")


def _blanked(schema: Any) -> Any:
    """The schema with the type of such fields changed to one that is always written empty."""
    if isinstance(schema, list):
        return [_blanked(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "record":
        fields = [
            {**field, "type": _EMPTY if field.get("outside_digest") else _blanked(field["type"])}
            for field in schema["fields"]
        ]
        return {**schema, "fields": fields}
    return {name: _blanked(part) if name in _INNER else part for name, part in schema.items()}


def _writer(schema: Any, known: Writers, what: str) -> Write:
    if isinstance(schema, list):
        inner = _writer(_present(schema, what), known, what)
        return lambda value: _NULL if value is None else _PRESENT + inner(value)
    if isinstance(schema, str):
        return known.by_name[schema] if schema in known.by_name else _PRIMITIVES[schema](what)
    if schema.get("name") in known.by_name:
        return known.by_name[schema["name"]]
    match schema["type"]:
        case "record":
            found = _record(schema, known)
            if not _has_map(schema):
                found = _remembering(found)
        case "enum":
            found = _enum(schema, known)
        case "array":
            return _array(_writer(schema["items"], known, what))
        case "map":
            return _map(_writer(schema["values"], known, what))
        case "bytes" if schema.get("logicalType") == "decimal":
            assert schema["scale"] == SCALE, f"{what}: one scale for all decimals"
            return _decimal(what)
        case kind:
            return _writer(kind, known, what)
    return known.by_name.setdefault(schema["name"], found)


def _present(union: Sequence[Any], what: str) -> Any:
    null, *others = union
    assert [null, len(others)] == ["null", 1], f"{what}: a union of null and one type"
    return others[0]


def _record(schema: Mapping[str, Any], known: Writers) -> Write:
    """A function that names every field: between two of them Python does nothing else."""
    place: dict[str, Any] = {"_null_": _NULL, "_present_": _PRESENT, "_empty_": _END}
    place |= {"_texts_": _TEXTS, "_true_": b"\x01", "_false_": b"\x00", "_join_": b"".join}
    parts = [
        _part(field["type"], f"_record_.{field['name']}", (known, place), _what(schema, field))
        for field in schema["fields"]
    ]
    said = parts[0] if len(parts) == 1 else f"_join_(({', '.join(parts)},))"
    exec(f"def write(_record_):\n    return {said}", place)  # noqa: S102 - the schemas are ours
    made: Write = place["write"]
    return made


def _what(schema: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    return f"{schema['name']}.{field['name']}"


def _part(kind: Any, value: str, tools: tuple[Writers, dict[str, Any]], what: str) -> str:
    """The expression of the bytes of a value; what it needs is put into its place."""
    known, place = tools
    if isinstance(kind, list):
        name = f"_value{len(place)}_"
        place[name] = None
        inner = _part(_present(kind, what), name, tools, what)
        return f"(_null_ if ({name} := {value}) is None else _present_ + {inner})"
    if kind in ("string", "boolean", _EMPTY):
        return {
            "string": f"_texts_[{value}]",
            "boolean": f"(_true_ if {value} else _false_)",
            _EMPTY: "_empty_",
        }[kind]
    write = _writer(kind, known, what)
    numbers = known.numbers.get(kind if isinstance(kind, str) else kind.get("name", ""))
    name = f"_write{len(place)}_"
    place[name] = write if numbers is None else numbers
    return f"{name}({value})" if numbers is None else f"{name}[{value}._value_]"


def _remembering(write: Write) -> Write:
    """An order goes from record to record as it is: its bytes are made once. Records are frozen, so
    the same one has the same bytes; those that hold a map could be changed, and are not kept."""
    last: tuple[Any, bytes] = (None, b"")

    def again(record: Any) -> bytes:
        nonlocal last
        known, body = last
        if known is not record:
            body = write(record)
            last = (record, body)
        return body

    return again


def _has_map(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_map, schema))
    if not isinstance(schema, dict):
        return False
    inner = [schema.get(name) for name in _INNER] + [
        field["type"] for field in schema.get("fields", ())
    ]
    return schema.get("type") == "map" or any(map(_has_map, inner))


def _enum(schema: Mapping[str, Any], known: Writers) -> Write:
    numbers = {symbol: _long(number) for number, symbol in enumerate(schema["symbols"])}
    known.numbers[schema["name"]] = numbers
    return lambda value: numbers[value._value_]


def _array(inner: Write) -> Write:
    if inner is _string:
        return _strings

    def write(items: Sequence[Any]) -> bytes:
        if not items:
            return _END
        return b"".join([_long(len(items)), *[inner(item) for item in items], _END])

    return write


def _strings(items: Sequence[str]) -> bytes:
    """A list of texts: of those decisions that came too fast there are thousands."""
    if not items:
        return _END
    sizes_seen = set(map(len, items))
    if len(sizes_seen) == 1 and (size := sizes_seen.pop()) < _SHORT_END:
        # All of one length, as ids are: their length is a letter between them.
        mark = chr(2 * size)
        text = mark + mark.join(items)
        if text.isascii():
            return _long(len(items)) + text.encode() + _END
    parts = [item.encode() for item in items]
    longest = max(map(len, parts))
    sizes = [_SHORT[len(part)] if longest < _SHORT_END else _long(len(part)) for part in parts]
    pairs = chain.from_iterable(zip(sizes, parts, strict=True))
    return b"".join([_long(len(parts)), *pairs, _END])


def _map(inner: Write) -> Write:
    def write(items: Mapping[str, Any]) -> bytes:
        if not items:
            return _END
        # An Avro map has no order, our bytes must have one.
        pairs = [_string(key) + inner(items[key]) for key in sorted(items)]
        return b"".join([_long(len(items)), *pairs, _END])

    return write


def _decimal(what: str) -> Write:
    # The same quantities, prices and limits come again and again; equal numbers have equal bytes.
    @lru_cache(maxsize=1024, typed=True)
    def write(value: Decimal) -> bytes:
        scaled = in_range(value, what).scaleb(SCALE, _SCALED)
        number = int(scaled)
        if number != scaled:
            raise ValueError(f"{what} is {value}; at most {SCALE} decimals")
        size = (number.bit_length() + 8) // 8
        return _SHORT[size] + number.to_bytes(size, "big", signed=True)

    return write


def _double(what: str) -> Write:
    def write(value: float) -> bytes:
        return _DOUBLE.pack(finite(value, what))

    return write


def _string(value: str) -> bytes:
    data = value.encode()
    size = len(data)
    return (_SHORT[size] if size < _SHORT_END else _long(size)) + data


class _Texts(dict[str, bytes]):
    """Short texts as they are written: an id comes in many records, a name in nearly all."""

    def __missing__(self, value: str) -> bytes:
        found = _string(value)
        if len(found) > _SHORT_END:
            return found
        if len(self) >= _TEXTS_MAX:
            self.clear()
        self[value] = found
        return found


_TEXTS: Final = _Texts()


def _bytes(value: bytes) -> bytes:
    size = len(value)
    return (_SHORT[size] if size < _SHORT_END else _long(size)) + value


def _empty(_value: Any) -> bytes:
    """An empty text, or no bytes."""
    return _END


def _boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


@lru_cache(maxsize=4096, typed=True)
def _long(value: int) -> bytes:
    """Zigzag, seven bits a byte; times come in the same record again and again."""
    if not _LONG_MIN <= value <= _LONG_MAX:
        raise OverflowError(f"{value} does not fit 64 bits")
    left = (value << 1) ^ (value >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append((left & 0x7F) | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def _plain(write: Write) -> Callable[[str], Write]:
    return lambda _what: write


_PRIMITIVES: Final[dict[str, Callable[[str], Write]]] = {
    "string": _plain(_string),
    "bytes": _plain(_bytes),
    "long": _plain(_long),
    "int": _plain(_long),
    "boolean": _plain(_boolean),
    "double": _double,
    _EMPTY: lambda _what: _empty,
}
