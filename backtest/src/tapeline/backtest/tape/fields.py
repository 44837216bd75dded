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
_SEVEN_BITS: Final = np.uint64(0x7F)
_ONE: Final = np.uint64(1)
_SEVEN: Final = np.uint64(7)


@dataclass(slots=True)
class Source:
    """Messages of one type, to be read field by field."""

    bodies: Bodies
    values: pl.Series
    """the same as a column"""
    starts: Numbers
    """where each begins in the joined bodies"""


class Target:
    """Where bodies are written, field by field, all of them side by side."""

    def __init__(self, out: Bytes, at: Numbers) -> None:
        self.out = out
        self.at = at

    def put(self, content: Bytes, sizes: Numbers) -> None:
        """Bytes of different lengths, one behind the other in `content`."""
        ends = np.cumsum(sizes)
        if len(content):
            shifts = np.repeat(self.at - (ends - sizes), sizes)
            self.out[np.arange(len(content), dtype=np.int64) + shifts] = content
        self.at = self.at + sizes

    def put_fixed(self, content: Bytes) -> None:
        """Rows of one length."""
        width = content.shape[1]
        self.out[self.at[:, None] + np.arange(width, dtype=np.int64)] = content
        self.at = self.at + width

    def put_numbers(self, value: Unsigned, sizes: Numbers) -> None:
        """Seven bits a byte, the lowest first."""
        for place in range(int(sizes.max(initial=0))):
            shifted = value >> np.uint64(7 * place)
            digits = shifted & _SEVEN_BITS | ((shifted > _SEVEN_BITS).astype(np.uint64) << _SEVEN)
            chosen = sizes > place
            self.out[self.at[chosen] + place] = digits[chosen]
        self.at = self.at + sizes


class Written(Protocol):
    """A field of all records, ready to be written."""

    @property
    def sizes(self) -> Numbers:
        """Bytes that each takes."""
        ...

    def put(self, target: Target) -> None:
        """Writes it behind what was written before."""
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

    def put(self, target: Target) -> None:
        target.put_numbers(self.value, self.sizes)


def _number(column: Numbers) -> _Number:
    value = zigzagged(column)
    return _Number(value, sizes_of(value))


@dataclass(slots=True)
class _Fixed:
    content: Bytes
    sizes: Numbers

    def put(self, target: Target) -> None:
        target.put_fixed(self.content)


@dataclass(slots=True)
class _Text:
    content: Bytes
    lengths: _Number
    letters: Numbers

    @property
    def sizes(self) -> Numbers:
        return self.lengths.sizes + self.letters

    def put(self, target: Target) -> None:
        self.lengths.put(target)
        target.put(self.content, self.letters)


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

    def put(self, target: Target) -> None:
        target.put_fixed((self.chosen * np.uint8(2)).astype(np.uint8)[:, None])
        part = Target(target.out, target.at[self.chosen])
        self.inner.put(part)
        target.at = target.at.copy()
        target.at[self.chosen] = part.at


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
        content = np.ascontiguousarray(column.to_numpy(), "<f8").view(np.uint8).reshape(-1, 8)
        return _Fixed(content, np.full(len(content), 8, np.int64))


class Booleans:
    """Yes or no."""

    dtype = pl.Boolean()

    def read(self, source: Source) -> pl.Series:
        # No number of one byte but 0 and -1 is written as 0 and 1.
        value = source.bodies.numbers()
        source.bodies.require((value == 0) | (value == -1))
        return pl.Series(value != 0)

    def written(self, column: pl.Series) -> Written:
        content = column.to_numpy().astype(np.uint8)[:, None]
        return _Fixed(content, np.ones(len(content), np.int64))


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
        content = np.frombuffer(b"".join(column.cast(pl.Binary).to_list()), np.uint8)
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
        return _Fixed(np.zeros((len(column), 1), np.uint8), np.ones(len(column), np.int64))


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
