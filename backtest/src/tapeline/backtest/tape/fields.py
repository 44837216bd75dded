"""Fields of bulk records as columns, and columns as the bytes that Avro has for them.

Each kind of field is read from all bodies at once and written to all of them at once. What is read
is what is plain in the sense of `tapeline.runtime.columns`; what is written is the one encoding
that we would choose, so a record whose bytes come back was no other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from tapeline.runtime.columns import LENGTH_MAX, Bodies, Flags, Numbers

Bytes = npt.NDArray[np.uint8]
Unsigned = npt.NDArray[np.uint64]
OVERHANG: Final = 16
SHORT_MAX: Final = 64
"""longest text that is written by words"""
_SEVEN_BITS: Final = np.uint64(0x7F)
_BIT: Final = np.uint64(0x80)
_SEVEN: Final = np.uint64(7)
_LOW: Final = np.uint64((1 << 56) - 1)
_SPREADS: Final = tuple(
    (np.uint64(lower), np.uint64(upper), np.uint64(gap))
    for lower, upper, gap in (
        (0x0FFFFFFF, 0xFFFFFFF0000000, 4),
        (0x00003FFF00003FFF, 0x0FFFC0000FFFC000, 2),
        (0x007F007F007F007F, 0x3F803F803F803F80, 1),
    )
)
"""groups of 28, 14, 7 bits are moved apart: (lower ones, upper ones, gap)"""
_MORE: Final = np.array(
    [0, *(0x8080808080808080 & ((1 << 8 * min(size - 1, 8)) - 1) for size in range(1, 11))],
    np.uint64,
)
"""by size of a number: the bits that say that it goes on"""


@dataclass(slots=True)
class Source:
    """Messages of one type, to be read field by field."""

    bodies: Bodies
    values: pl.Series
    """the same as a column"""
    starts: Numbers
    """where each begins in the joined bodies"""


class Target:
    """Where bodies are written, field by field, all of them side by side.

    Numbers and texts are written eight bytes at a time: what goes past the end of one is written
    over by the fields behind it, and past the last field by the header of the next message, which
    therefore comes last.
    """

    def __init__(self, ends: Numbers, sizes: Numbers) -> None:
        """For messages of these sizes that end there."""
        self.starts = ends - sizes
        count = int(ends[-1]) if len(ends) else 0
        self._out = bytearray(count + OVERHANG)
        self._count = count
        self._bytes = np.frombuffer(self._out, np.uint8)
        self._words = np.ndarray((count + 8,), "<u8", self._out, strides=(1,))
        self._doubles = np.ndarray((count + 8,), "<f8", self._out, strides=(1,))

    def messages(self, header: bytes) -> bytes:
        """All of them with their headers, one behind the other."""
        self._words[self.starts] = np.frombuffer(header, "<u8", 1)[0]
        for place in range(8, len(header)):
            self._bytes[self.starts + place] = header[place]
        return bytes(memoryview(self._out)[: self._count])

    def put_bytes(self, at: Numbers, content: Bytes) -> None:
        """One byte of each."""
        self._bytes[at] = content

    def put_doubles(self, at: Numbers, content: npt.NDArray[np.float64]) -> None:
        """Eight bytes of each."""
        self._doubles[at] = content

    def put_numbers(self, at: Numbers, value: Unsigned, sizes: Numbers) -> None:
        """Seven bits a byte, the lowest first."""
        low = value & _LOW
        for lower, upper, gap in _SPREADS:
            low = (low & lower) | ((low & upper) << gap)
        self._words[at] = low | _MORE[sizes]
        is_long = sizes > 8
        if is_long.any():
            self._put_rest(at[is_long] + 8, value[is_long] >> np.uint64(56), sizes[is_long])

    def _put_rest(self, at: Numbers, value: Unsigned, sizes: Numbers) -> None:
        """The ninth byte, and the tenth where there is one."""
        is_longer = sizes > 9
        self._bytes[at] = (value & _SEVEN_BITS) | np.where(is_longer, _BIT, np.uint64(0))
        self._bytes[at[is_longer] + 1] = value[is_longer] >> _SEVEN

    def put_texts(self, at: Numbers, content: bytes, sizes: Numbers) -> None:
        """Bytes of different lengths, one behind the other in `content`."""
        longest = int(sizes.max(initial=0))
        begins = np.cumsum(sizes) - sizes
        if longest > SHORT_MAX:
            shifts = np.repeat(at - begins, sizes)
            found = np.frombuffer(content, np.uint8)
            self._bytes[np.arange(len(content), dtype=np.int64) + shifts] = found
            return
        padded = content + bytes(OVERHANG)
        windows = np.ndarray((len(content) + 8,), "<u8", padded, strides=(1,))
        for place in range(0, longest, 8):
            chosen = sizes > place
            self._words[at[chosen] + place] = windows[begins[chosen] + place]


class Written(Protocol):
    """A field of all records, ready to be written."""

    @property
    def sizes(self) -> Numbers:
        """Bytes that each takes."""
        ...

    def put(self, target: Target, at: Numbers) -> None:
        """Writes it to these places."""
        ...


class Field(Protocol):
    """How a field is read and written."""

    @property
    def dtype(self) -> Any:
        """Of its column."""
        ...

    def read(self, source: Source) -> pl.Series:
        """The column; rows that are not plain are noted in the bodies."""
        ...

    def written(self, column: pl.Series) -> Written:
        """The bytes of a column that was read."""
        ...


def zigzagged(column: Numbers) -> Unsigned:
    """Small numbers of either sign as small ones without."""
    return ((column << 1) ^ (column >> 63)).view(np.uint64)


def sizes_of(value: Unsigned) -> Numbers:
    """Bytes of each at seven bits a byte."""
    sizes = np.ones(len(value), np.int64)
    most = int(value.max(initial=0))
    width = 7
    while most >> width:
        sizes += value >= np.uint64(1 << width)
        width += 7
    return sizes


@dataclass(slots=True)
class _Number:
    value: Unsigned
    sizes: Numbers

    def put(self, target: Target, at: Numbers) -> None:
        target.put_numbers(at, self.value, self.sizes)


def _number(column: Numbers) -> _Number:
    value = zigzagged(column)
    return _Number(value, sizes_of(value))


@dataclass(slots=True)
class _Byte:
    content: Bytes

    @property
    def sizes(self) -> Numbers:
        return np.ones(len(self.content), np.int64)

    def put(self, target: Target, at: Numbers) -> None:
        target.put_bytes(at, self.content)


@dataclass(slots=True)
class _Double:
    content: npt.NDArray[np.float64]

    @property
    def sizes(self) -> Numbers:
        return np.full(len(self.content), 8, np.int64)

    def put(self, target: Target, at: Numbers) -> None:
        target.put_doubles(at, self.content)


@dataclass(slots=True)
class _Text:
    content: bytes
    lengths: _Number
    letters: Numbers

    @property
    def sizes(self) -> Numbers:
        return self.lengths.sizes + self.letters

    def put(self, target: Target, at: Numbers) -> None:
        self.lengths.put(target, at)
        target.put_texts(at + self.lengths.sizes, self.content, self.letters)


@dataclass(slots=True)
class _Perhaps:
    """A branch, and the value of those that have one."""

    chosen: Flags
    inner: Written

    @property
    def sizes(self) -> Numbers:
        sizes = np.ones(len(self.chosen), np.int64)
        sizes[self.chosen] += self.inner.sizes
        return sizes

    def put(self, target: Target, at: Numbers) -> None:
        target.put_bytes(at, self.chosen * np.uint8(2))
        self.inner.put(target, at[self.chosen] + 1)


class Longs:
    """Whole numbers, such as times."""

    dtype = pl.Int64()

    def read(self, source: Source) -> pl.Series:
        return pl.Series(source.bodies.numbers())

    def written(self, column: pl.Series) -> Written:
        return _number(column.to_numpy())


class Doubles:
    """Prices and sizes: finite ones."""

    dtype = pl.Float64()

    def read(self, source: Source) -> pl.Series:
        return pl.Series(source.bodies.doubles())

    def written(self, column: pl.Series) -> Written:
        return _Double(column.to_numpy())


class Booleans:
    """Yes or no."""

    dtype = pl.Boolean()

    def read(self, source: Source) -> pl.Series:
        # No number of one byte but 0 and -1 is written as 0 and 1.
        value = source.bodies.numbers()
        source.bodies.require((value == 0) | (value == -1))
        return pl.Series(value != 0)

    def written(self, column: pl.Series) -> Written:
        return _Byte(column.to_numpy().astype(np.uint8))


class Texts:
    """Names and ids: any text, never made an object."""

    dtype = pl.String()

    def read(self, source: Source) -> pl.Series:
        bodies = source.bodies
        sizes = bodies.numbers()
        is_sane = (sizes >= 0) & (sizes <= LENGTH_MAX)
        bodies.require(is_sane)
        sizes = np.where(is_sane, sizes, 0)
        where = {"begin": (bodies.at - source.starts).astype(np.int64), "length": sizes}
        bodies.advance(sizes)
        found = pl.DataFrame({"value": source.values, **where}).select(
            pl.col("value").bin.slice("begin", "length")
        )["value"]
        try:
            return found.cast(pl.String)
        except pl.exceptions.ComputeError:  # some are no text
            texts = pl.Series(map(_text, found.to_list()), dtype=pl.String)
            bodies.require(texts.is_not_null().to_numpy())
            return texts.fill_null("")

    def written(self, column: pl.Series) -> Written:
        letters = column.str.len_bytes().to_numpy().astype(np.int64)
        content = b"".join(column.cast(pl.Binary).to_list())
        return _Text(content, _number(letters), letters)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


class Symbols:
    """One of a few names."""

    dtype = pl.String()

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = list(symbols)

    def read(self, source: Source) -> pl.Series:
        places = source.bodies.numbers()
        is_known = (places >= 0) & (places < len(self._symbols))
        source.bodies.require(is_known)
        return pl.Series(self._symbols).gather(np.where(is_known, places, 0))

    def written(self, column: pl.Series) -> Written:
        places = column.cast(pl.Enum(self._symbols)).to_physical()
        return _number(places.to_numpy().astype(np.int64))


class Lists:
    """Symbols of which there are none: those that have some are read one by one."""

    dtype = pl.String()

    def read(self, source: Source) -> pl.Series:
        source.bodies.require(source.bodies.numbers() == 0)
        return pl.Series([""], dtype=pl.String).new_from_index(0, len(source.starts))

    def written(self, column: pl.Series) -> Written:
        assert (column == "").all(), "those with some are written one by one"
        return _Byte(np.zeros(len(column), np.uint8))


class Nullables:
    """What may be missing."""

    def __init__(self, inner: Longs | Doubles | Booleans | Symbols) -> None:
        self._inner = inner
        self.dtype = inner.dtype

    def read(self, source: Source) -> pl.Series:
        bodies = source.bodies
        branches = bodies.numbers()
        bodies.require((branches == 0) | (branches == 1))
        chosen = branches == 1
        part = bodies.part(chosen)
        values = self._inner.read(Source(part, source.values, source.starts))
        bodies.put_back(part, chosen)
        column = pl.Series([None], dtype=self.dtype).new_from_index(0, len(branches))
        return column.scatter(np.flatnonzero(chosen), values) if chosen.any() else column

    def written(self, column: pl.Series) -> Written:
        chosen = column.is_not_null().to_numpy()
        return _Perhaps(chosen, self._inner.written(column.drop_nulls()))


PRIMITIVES: Final[Mapping[str, Field]] = {
    "string": Texts(),
    "long": Longs(),
    "double": Doubles(),
    "boolean": Booleans(),
}


def field_of(kind: Any) -> Field | None:
    """For a type of a parsed schema; None where it is kept as bytes."""
    match kind:
        case str():
            return PRIMITIVES.get(kind)
        case ["null", inner]:
            found = field_of(inner)
            return Nullables(found) if isinstance(found, Longs | Doubles | Booleans) else None
        case {"type": "enum", "symbols": symbols}:
            return Symbols(symbols)
        case {"type": "array", "items": items} if not isinstance(items, list):
            return Lists() if isinstance(items, dict) and items["type"] == "enum" else None
    return None
