"""Many records of one type at once, column by column.

A few array operations read one field of all records, where the Avro library takes microseconds a
record. Read is only what is plain: ASCII strings, finite numbers, booleans, enums, nullable ones of
those, and arrays that are empty, in a record that ends where its message does. Everything else, be
it a name in another script or a broken byte, is left to `Decoder`, the only judge: what is read
here is what it would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from itertools import islice
from operator import methodcaller
from typing import Any, Final, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from tapeline.runtime.codec import HEADER_BYTES, DecodeError, Decoder, Schema, schema_of

MANY: Final = 48
"""from so many records on reading them together is faster than one by one"""
PADDING: Final = bytes(32)
"""a window of eight bytes may be looked at behind the last record"""
LENGTH_MAX: Final = 1 << 20
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_LOW_BITS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONE: Final = np.uint64(1)
_BYTE: Final = np.uint64(0xFF)
_MERGES: Final = tuple(
    (np.uint64(low), np.uint64(low << width), np.uint64(width >> 3))
    for low, width in ((0x007F007F007F007F, 8), (0x00003FFF00003FFF, 16), (0x0FFFFFFF, 32))
)
"""groups of 7, 14, 28 bits that lie in lanes of 8, 16, 32: (lower ones, upper ones, gap)"""

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Column = Sequence[Any]
Read = Callable[["Bodies"], Column]


class Bodies:
    """Bodies of one record type, and how far each has been read."""

    def __init__(self, joined: bytes, starts: Numbers, ends: Numbers) -> None:
        """`joined` ends with PADDING."""
        count = len(joined) - 8
        self._joined = joined
        self._windows = np.ndarray((count,), "<u8", joined, strides=(1,))
        self._doubles = np.ndarray((count,), "<f8", joined, strides=(1,))
        self.at = starts
        self.ends = ends
        self.is_plain: Flags = np.ones(len(starts), np.bool_)

    @cached_property
    def text(self) -> str:
        """All of it, a character a byte."""
        return self._joined.decode("latin-1")

    def part(self, chosen: Flags) -> Bodies:
        """Some of them, to be read apart."""
        part = object.__new__(Bodies)
        part.__dict__.update(self.__dict__)
        part.at, part.ends = self.at[chosen], self.ends[chosen]
        part.is_plain = self.is_plain[chosen]
        return part

    def put_back(self, part: Bodies, chosen: Flags) -> None:
        """How far that part has come."""
        self.at = self.at.copy()
        self.at[chosen] = part.at
        self.is_plain[chosen] = part.is_plain

    def require(self, flags: Flags) -> None:
        """Only these are plain still."""
        self.is_plain &= flags

    def advance(self, sizes: Numbers | int) -> None:
        """Goes on; what would go past its end stays there and is not plain."""
        at = self.at + sizes
        self.require(at <= self.ends)
        self.at = np.minimum(at, self.ends)

    def numbers(self) -> Numbers:
        """A long of each: zigzag, seven bits a byte, the lowest first."""
        window = self._windows[self.at]
        first = window & _BYTE
        if (first < 0x80).all():
            self.advance(1)
            return _unzigzagged(first)
        return self._long_numbers(window)

    def _long_numbers(self, window: npt.NDArray[np.uint64]) -> Numbers:
        stops = ~window & _HIGH_BITS
        # The lowest bit that is set ends the number; without one it goes on behind the window.
        stop = stops & (~stops + _ONE)
        value = window & ((stop << _ONE) - _ONE) & _LOW_BITS
        for lower, upper, gap in _MERGES:
            value = (value & lower) | ((value & upper) >> gap)
        sizes = np.frexp(stop.astype(np.float64))[1].astype(np.int64) >> 3
        is_long = sizes == 0
        if is_long.any():
            ninth = self._windows[np.minimum(self.at + 8, self.ends)] & _BYTE
            self.require(~is_long | (ninth < 0x80))
            value = np.where(is_long, value | ((ninth & np.uint64(0x7F)) << np.uint64(56)), value)
            sizes = np.where(is_long, 9, sizes)
        self.advance(sizes)
        return _unzigzagged(value)

    def doubles(self) -> npt.NDArray[np.float64]:
        """A finite double of each."""
        values = self._doubles[self.at]
        self.require(np.isfinite(values))
        self.advance(8)
        return values


def _unzigzagged(value: npt.NDArray[np.uint64]) -> Numbers:
    return (value >> _ONE).view(np.int64) ^ -(value & _ONE).view(np.int64)


# ---- one field


def _read_numbers(bodies: Bodies) -> Column:
    found: list[int] = bodies.numbers().tolist()
    return found


def _read_doubles(bodies: Bodies) -> Column:
    found: list[float] = bodies.doubles().tolist()
    return found


def _read_flags(bodies: Bodies) -> Column:
    # No number of one byte but 0 and -1 is written as 0 and 1.
    value = bodies.numbers()
    bodies.require((value == 0) | (value == -1))
    found: list[bool] = (value != 0).tolist()
    return found


def _read_strings(bodies: Bodies) -> Column:
    sizes = bodies.numbers()
    is_sane = (sizes >= 0) & (sizes <= LENGTH_MAX)
    bodies.require(is_sane)
    starts = bodies.at.tolist()
    bodies.advance(np.where(is_sane, sizes, 0))
    text = bodies.text
    found = [text[start:end] for start, end in zip(starts, bodies.at.tolist(), strict=True)]
    if not "".join(found).isascii():
        bodies.require(np.fromiter(map(str.isascii, found), np.bool_, len(found)))
    return found


def _read_empty_arrays(bodies: Bodies) -> Column:
    bodies.require(bodies.numbers() == 0)
    return [()] * len(bodies.at)


def _members(symbols: Sequence[Any]) -> Read:
    def read(bodies: Bodies) -> Column:
        places = bodies.numbers()
        is_known = (places >= 0) & (places < len(symbols))
        bodies.require(is_known)
        return [symbols[place] for place in np.where(is_known, places, 0).tolist()]

    return read


def _nullable(inner: Read) -> Read:
    def read(bodies: Bodies) -> Column:
        branches = bodies.numbers()
        bodies.require((branches == 0) | (branches == 1))
        chosen = branches == 1
        if not chosen.any():
            return [None] * len(branches)
        part = bodies.part(chosen)
        values = inner(part)
        bodies.put_back(part, chosen)
        found: list[Any] = [None] * len(branches)
        for place, value in zip(np.flatnonzero(chosen).tolist(), values, strict=True):
            found[place] = value
        return found

    return read


_PRIMITIVES: Final[Mapping[str, Read]] = {
    "string": _read_strings,
    "long": _read_numbers,
    "double": _read_doubles,
    "boolean": _read_flags,
}


def _read_of(kind: Any, hint: Any) -> Read | None:
    """How a field is read; None where it is not plain. `hint` is its Python type."""
    if isinstance(kind, str):
        return _PRIMITIVES.get(kind)
    if isinstance(kind, list):
        inner = _read_of(kind[1], get_args(hint)[0]) if kind[0] == "null" else None
        return None if inner is None else _nullable(inner)
    if kind["type"] == "enum":
        return _members([hint[symbol] for symbol in kind["symbols"]])
    return _read_empty_arrays if kind["type"] == "array" else None


# ---- one record type


def fill_slots(kind: Any, columns: Mapping[str, Any], count: int) -> list[Any]:
    """New objects of a quick class, of columns for all its fields: without a loop of Python's."""
    return list(islice(map(kind, *map(columns.__getitem__, kind.__struct_fields__)), count))


class RecordColumns:
    """Reads the bodies of one record type, whose fields are all plain."""

    def __init__(self, record: Any, reads: Mapping[str, Read]) -> None:
        self._record = record
        self._reads = reads

    @classmethod
    def of(cls, schema: Schema) -> RecordColumns | None:
        """For a type of ours; None where a field is of another kind."""
        hints = get_type_hints(schema.record)
        named: dict[str, Any] = {}
        reads: dict[str, Read] = {}
        for field in schema.parsed["fields"]:
            kind = field["type"]
            if isinstance(kind, dict) and kind["type"] == "enum":
                named[kind["name"]] = kind
            kind = named.get(kind, kind) if isinstance(kind, str) else kind
            read = _read_of(kind, hints[field["name"]])
            if read is None:
                return None
            reads[field["name"]] = read
        assert set(reads) == {field.name for field in fields(schema.record)}
        return cls(schema.record, reads)

    def read(self, values: Sequence[bytes]) -> list[Any]:
        """The records in messages with the header of this type; None for those that are left."""
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        ends = np.cumsum(sizes)
        bodies = Bodies(b"".join((*values, PADDING)), ends - sizes + HEADER_BYTES, ends)
        columns = {name: read(bodies) for name, read in self._reads.items()}
        bodies.require(bodies.at == ends)
        found = fill_slots(self._record, columns, len(values))
        if not bodies.is_plain.all():
            for place in np.flatnonzero(~bodies.is_plain).tolist():
                found[place] = None
        return found


class ColumnDecoder:
    """A decoder of bulk topics: what is plain together, the rest one by one."""

    def __init__(self, names: Sequence[str], one_by_one: Decoder) -> None:
        """`one_by_one` decodes the same types and must not demand the canonical encoding."""
        self._decoder = one_by_one
        schemas = {name: schema_of(name) for name in names}
        columns = {schema.header: RecordColumns.of(schema) for schema in schemas.values()}
        self._columns = {head: found for head, found in columns.items() if found is not None}
        self._bytes_max = min(schema.max_bytes for schema in schemas.values())

    def decode_all(self, values: Sequence[bytes | None]) -> list[Any]:
        """Of each message its record, or the DecodeError."""
        found: list[Any] = [None] * len(values)
        if len(values) >= MANY:
            for head, places in self._by_header(values).items():
                self._read_together(head, places, values, found)
        for place, record in enumerate(found):
            if record is None:
                found[place] = self._decoded(values[place])
        return found

    def _by_header(self, values: Sequence[bytes | None]) -> dict[bytes, Sequence[int]]:
        first = values[0]
        if first is not None and None not in values:
            head = first[:HEADER_BYTES]
            if all(map(methodcaller("startswith", head), values)):
                return {head: range(len(values))}
        groups: dict[bytes, list[int]] = {}
        for place, value in enumerate(values):
            if value is not None:
                groups.setdefault(value[:HEADER_BYTES], []).append(place)
        return dict(groups)

    def _read_together(
        self,
        head: bytes,
        places: Sequence[int],
        values: Sequence[bytes | None],
        found: list[Any],
    ) -> None:
        columns = self._columns.get(head)
        if columns is None or len(places) < MANY:
            return
        chosen = [value for value in map(values.__getitem__, places) if value is not None]
        if max(map(len, chosen)) > self._bytes_max:
            return
        for place, record in zip(places, columns.read(chosen), strict=True):
            found[place] = record

    def _decoded(self, value: bytes | None) -> Any:
        try:
            return self._decoder.decode(value)
        except DecodeError as error:
            return error
