"""Avro bodies of our own records, written straight from their fields.

The Avro library takes a dictionary and works out for every field that may be null which branch its
value fits; for a decision or an approval that is most of the time. Here a function for each field
is made once from the schema. The bytes are those of the library, to which the tests compare them.

Only what our schemas hold is known: unions are of null and one type (tools/generate_contracts.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from itertools import chain
from operator import attrgetter
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
_INNER: Final = ("items", "values", "type")
_NULL, _PRESENT, _END = b"\x00", b"\x02", b"\x00"


def writer_of(schema: Any) -> Write:
    """The function that writes the body of a record of a parsed schema, with all types inside."""
    return _writer(schema, {}, "")


def digest_writer_of(schema: Any) -> Write:
    """The same with fields that are outside digests left empty: what `without_mac` would encode,
    without the copies."""
    return _writer(_blanked(schema), {}, "")


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


def _writer(schema: Any, known: dict[str, Write], what: str) -> Write:
    if isinstance(schema, list):
        null, other = schema
        assert null == "null", f"{what}: a union of null and one type"
        return _nullable(_writer(other, known, what))
    if isinstance(schema, str):
        return known[schema] if schema in known else _PRIMITIVES[schema](what)
    match schema["type"]:
        case "record":
            found = _record(schema, known)
            if what and not _has_map(schema):
                found = _remembering(found)
        case "enum":
            found = _enum(schema["symbols"])
        case "array":
            return _array(_writer(schema["items"], known, what))
        case "map":
            return _map(_writer(schema["values"], known, what))
        case "bytes" if schema.get("logicalType") == "decimal":
            assert schema["scale"] == SCALE, f"{what}: one scale for all decimals"
            return _decimal(what)
        case kind:
            return _writer(kind, known, what)
    return known.setdefault(schema["name"], found)


def _record(schema: Mapping[str, Any], known: dict[str, Write]) -> Write:
    names = [field["name"] for field in schema["fields"]]
    writers = [
        _writer(field["type"], known, f"{schema['name']}.{field['name']}")
        for field in schema["fields"]
    ]
    if len(names) == 1:
        (only,), take = writers, attrgetter(names[0])
        return lambda record: only(take(record))
    values = attrgetter(*names)

    def write(record: Any) -> bytes:
        pairs = zip(writers, values(record), strict=True)
        return b"".join([one(value) for one, value in pairs])

    return write


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


def _nullable(inner: Write) -> Write:
    def write(value: Any) -> bytes:
        return _NULL if value is None else _PRESENT + inner(value)

    return write


def _enum(symbols: Sequence[str]) -> Write:
    numbers = {symbol: _long(number) for number, symbol in enumerate(symbols)}

    def write(value: Any) -> bytes:
        return numbers[value._value_]

    return write


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
