"""Records of a bulk topic as a frame: one row a record, one column a field.

Beside the fields of all types of the topic there are `offset`, `append_ms`, `key`, `headers`,
`record` (the name of the type) and `value`. A record is columns only where its bytes have been
made anew of those columns and are the same, so nothing is lost: names in any script, -0.0, what
is missing. Every other one (broken, of another schema, in an encoding that is not ours) is kept as
its bytes in `value`, with `record` null; without a value both are null.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache, cached_property
from operator import methodcaller
from typing import Any, Final, get_args, get_origin, get_type_hints

import fastavro
import msgspec
import numpy as np
import polars as pl

from tapeline.backtest.tape.fields import Field, Source, Target, Written, field_of
from tapeline.contracts import topics
from tapeline.contracts.registry import RECORDS, SCHEMAS
from tapeline.runtime.codec import (
    HEADER_BYTES,
    MARKER,
    DecodeError,
    Decoder,
    fingerprint_of,
    schema_of,
)
from tapeline.runtime.columns import PADDING, Bodies, Flags, fill_slots
from tapeline.runtime.intake import Resolve
from tapeline.runtime.log import RawColumns

ROW: Final = "row"
RECORD: Final = "record"
VALUE: Final = "value"
PLACE: Final[Mapping[str, Any]] = {
    "offset": pl.Int64(),
    "append_ms": pl.Int64(),
    "key": pl.Binary(),
    "headers": pl.Binary(),
}
"""of every record"""
_ENCODE = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class RecordType:
    """A record type whose fields are columns."""

    full_name: str
    source: Any
    """its schema"""
    fields: Mapping[str, Field]

    @classmethod
    def of(cls, source: Any) -> RecordType | None:
        """For a schema; None where a field is of another kind."""
        parsed: Any = fastavro.parse_schema(source)
        named: dict[str, Any] = {}
        found: dict[str, Field] = {}
        for item in parsed["fields"]:
            kind = item["type"]
            if isinstance(kind, dict) and kind["type"] == "enum":
                named[kind["name"]] = kind
            field = field_of(named.get(kind, kind) if isinstance(kind, str) else kind)
            if field is None:
                return None
            found[item["name"]] = field
        return cls(str(parsed["name"]), source, found)

    @property
    def name(self) -> str:
        """As in `record`, such as Trade."""
        return self.full_name.rpartition(".")[2]

    @cached_property
    def header(self) -> bytes:
        """Marker and fingerprint."""
        return MARKER + fingerprint_of(self.source).to_bytes(8, "little")

    @cached_property
    def lists(self) -> list[str]:
        """Fields of several symbols."""
        return [
            item["name"]
            for item in self._parsed["fields"]
            if isinstance(item["type"], dict) and item["type"]["type"] == "array"
        ]

    @cached_property
    def _parsed(self) -> Any:
        return fastavro.parse_schema(self.source)

    def read(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, Flags]:
        """(columns, whether each row is the whole message) of messages with this type's header."""
        joined = b"".join((*values, PADDING))
        frame, is_plain = self.decoded(values, joined)
        if is_plain.all() and self._joined(frame)[0] == joined[: -len(PADDING)]:
            return frame, is_plain
        return frame, self._proven(frame, is_plain, values)

    def decoded(self, values: Sequence[bytes], joined: bytes) -> tuple[pl.DataFrame, Flags]:
        """(columns, whether each row is plain), without proof that the same bytes come back;
        `joined`: the messages and PADDING."""
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        ends = np.cumsum(sizes)
        bodies = Bodies(joined, ends - sizes + HEADER_BYTES, ends)
        source = Source(bodies, pl.Series(values, dtype=pl.Binary), ends - sizes)
        frame = pl.DataFrame({name: field.read(source) for name, field in self.fields.items()})
        bodies.require(bodies.at == ends)
        return frame, bodies.is_plain

    def _proven(self, frame: pl.DataFrame, is_plain: Flags, values: Sequence[bytes]) -> Flags:
        """Those of the plain rows of which the same bytes are made."""
        places = np.flatnonzero(is_plain)
        again = self.messages(frame[places])
        found = np.zeros(len(values), np.bool_)
        same = [values[place] == value for place, value in zip(places.tolist(), again, strict=True)]
        found[places] = same
        return found

    def messages(self, frame: pl.DataFrame) -> list[bytes]:
        """The messages of rows of this type."""
        is_listed = np.zeros(frame.height, np.bool_)
        for name in self.lists:
            is_listed |= (frame[name].str.len_bytes() > 0).to_numpy()
        together = frame.filter(~is_listed) if is_listed.any() else frame
        joined, starts, ends = self._joined(together)
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        plain = [joined[start:end] for start, end in bounds]
        if not is_listed.any():
            return plain
        found: list[bytes] = [b""] * frame.height
        for place, value in zip(np.flatnonzero(~is_listed).tolist(), plain, strict=True):
            found[place] = value
        for place in np.flatnonzero(is_listed).tolist():
            found[place] = self._one(frame.row(place, named=True))
        return found

    def _joined(self, frame: pl.DataFrame) -> tuple[bytes, Any, Any]:
        """(messages one behind the other, where each starts, where each ends)."""
        parts: list[Written] = [field.written(frame[name]) for name, field in self.fields.items()]
        sizes = [part.sizes for part in parts]
        whole = np.sum([np.full(frame.height, HEADER_BYTES, np.int64), *sizes], axis=0)
        ends = np.cumsum(whole)
        target = Target(ends, whole)
        at = target.starts + HEADER_BYTES
        for part, size in zip(parts, sizes, strict=True):
            part.put(target, at)
            at = at + size
        return target.messages(self.header), target.starts, ends

    def _one(self, row: Mapping[str, Any]) -> bytes:
        """The message of a row with a list that is not empty."""
        datum = {
            name: [item for item in row[name].split(",") if item]
            if name in self.lists
            else row[name]
            for name in self.fields
        }
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed, datum)
        return self.header + out.getvalue()

    def row_of(self, record: Any) -> dict[str, Any]:
        """The columns of one record of ours."""
        return {name: _kept(getattr(record, name)) for name in self.fields}


def _kept(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(item.value for item in value)
    return value.value if isinstance(value, Enum) else value


class BulkFrames:
    """Makes frames of the records of a topic, and records and bytes of frames."""

    def __init__(self, types: Sequence[RecordType], names: Sequence[str]) -> None:
        """`types`: those of the records that are columns; `names`: all that the topic holds."""
        self._types = {item.name: item for item in types}
        by_header = {item.header: item for item in types}
        self._by_header = {
            schema_of(name).header: by_header[schema_of(name).header]
            for name in names
            if schema_of(name).header in by_header
        }
        self._records = {name.rpartition(".")[2]: schema_of(name) for name in names}
        self._names = tuple(names)
        self._known = {fingerprint_of(item.source): item.source for item in types}
        self._decoder = Decoder(self._names, self._known.get)
        self.schema: dict[str, Any] = {**PLACE, RECORD: pl.String(), VALUE: pl.Binary()}
        for item in types:
            for name, field in item.fields.items():
                assert self.schema.setdefault(name, field.dtype) == field.dtype, name

    @property
    def sources(self) -> list[Any]:
        """The schemas that the columns were written by."""
        return [item.source for item in self._types.values()]

    # ---- into columns

    def framed(self, found: RawColumns) -> pl.DataFrame:
        """The rows of records."""
        count = len(found.offsets)
        headers = [_ENCODE(item) if item else None for item in found.headers]
        place = pl.DataFrame(
            {
                "offset": found.offsets,
                "append_ms": found.append_ms,
                "key": found.keys,
                "headers": headers,
            },
            schema=dict(PLACE),
        )
        parts, left = self._read(found.values)
        parts.append(self._one_by_one(found.values, left))
        content = pl.concat(parts, how="diagonal")
        if len(parts) > 2 or left:
            content = content.sort(ROW)
        assert content.height == count, "one row a record"
        missing = [
            pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.schema.items()
            if name not in PLACE and name not in content.columns
        ]
        whole = pl.concat([place, content.drop(ROW).with_columns(missing)], how="horizontal")
        return whole.select(list(self.schema))

    def _read(self, values: Sequence[bytes | None]) -> tuple[list[pl.DataFrame], list[int]]:
        """(rows by type, places of the records that are left)."""
        parts: list[pl.DataFrame] = []
        left: list[int] = []
        for head, places in _by_header(values).items():
            kind = self._by_header.get(head)
            if kind is None:
                left += places
                continue
            chosen: list[Any] = [values[place] for place in places]
            if max(map(len, chosen)) > schema_of(kind.full_name).max_bytes:
                left += places
                continue
            frame, is_proven = kind.read(chosen)
            named = frame.with_columns(
                pl.Series(ROW, places, dtype=pl.Int64), pl.lit(kind.name).alias(RECORD)
            )
            if not is_proven.all():
                left += [place for place, ok in zip(places, is_proven, strict=True) if not ok]
                named = named.filter(is_proven)
            parts.append(named)
        return parts, left

    def _one_by_one(self, values: Sequence[bytes | None], places: Sequence[int]) -> pl.DataFrame:
        """Rows of records that are not plain: columns where their bytes come back, too."""
        kept = {name: dtype for name, dtype in self.schema.items() if name not in PLACE}
        rows = [self._row(values[place]) for place in places]
        again = self.values(pl.DataFrame(rows, schema=kept, orient="row"))
        proven = [
            {ROW: place, **(row if value == values[place] else {VALUE: values[place]})}
            for place, row, value in zip(places, rows, again, strict=True)
        ]
        return pl.DataFrame(proven, schema={ROW: pl.Int64(), **kept}, orient="row")

    def _row(self, value: bytes | None) -> dict[str, Any]:
        """A record as columns where it can be read, else as bytes."""
        try:
            record = self._decoder.decode(value)
        except DecodeError:
            return {VALUE: value}
        kind = self._types[type(record).__name__]
        return {RECORD: kind.name, **kind.row_of(record)}

    # ---- out of columns

    def values(self, frame: pl.DataFrame) -> list[bytes | None]:
        """The bytes of all rows, as the topic has them."""
        return self._by_type(frame, lambda kind, part: kind.messages(part), frame[VALUE].to_list())

    def records(self, frame: pl.DataFrame, resolve: Resolve | None = None) -> list[Any]:
        """The record of each row, or the DecodeError: what its bytes would be decoded to; `resolve`
        finds the schemas of those that an older or a newer build has written."""
        decoder = self._decoder if resolve is None else self._decoder_by(resolve)
        others: list[Any] = [None] * frame.height
        is_left = frame[RECORD].is_null()
        left = frame[VALUE].filter(is_left).to_list()
        for place, value in zip(is_left.arg_true().to_list(), left, strict=True):
            others[place] = _decoded(decoder, value)
        return self._by_type(frame, self._made, others)

    def _decoder_by(self, resolve: Resolve) -> Decoder:
        known = self._known
        return Decoder(self._names, lambda mark: known[mark] if mark in known else resolve(mark))

    def _made(self, kind: RecordType, part: pl.DataFrame) -> list[Any]:
        schema = self._records[kind.name]
        if kind.header != schema.header:  # written by an older build
            return [_decoded(self._decoder, value) for value in kind.messages(part)]
        columns = {name: restored(part[name]) for name, restored in _restoring(schema.name).items()}
        return fill_slots(schema.record, columns, part.height)

    def _by_type(
        self,
        frame: pl.DataFrame,
        make: Callable[[RecordType, pl.DataFrame], list[Any]],
        others: list[Any],
    ) -> list[Any]:
        """What is made of the rows of each type, in the order of the rows."""
        if not frame.height:
            return []
        for kind in self._types.values():
            is_one = frame[RECORD].eq_missing(kind.name)
            if is_one.all():
                return make(kind, frame)
            if is_one.any():
                places = is_one.arg_true().to_list()
                made = make(kind, frame.filter(is_one))
                for place, item in zip(places, made, strict=True):
                    others[place] = item
        return others


def _decoded(decoder: Decoder, value: bytes | None) -> Any:
    try:
        return decoder.decode(value)
    except DecodeError as error:
        return error


@cache
def frames_of(topic: str) -> BulkFrames | None:
    """For a topic of ours; None where its records are kept as bytes."""
    names = topics.TOPICS[topic].records if topic in topics.TOPICS else ()
    if not names or not topics.TOPICS[topic].is_bulk:
        return None
    found = [RecordType.of(SCHEMAS[name]) for name in names]
    types = [item for item in found if item is not None]
    return BulkFrames(types, names) if len(types) == len(found) else None


def frames_by(topic: str, sources: str) -> BulkFrames:
    """For columns that were written by the schemas in a text of JSON; raises ValueError where they
    are not of the topic's types or have fields that this build does not know."""
    ours = frames_of(topic)
    if ours is not None and json.loads(sources) == ours.sources:
        return ours
    found = [RecordType.of(source) for source in json.loads(sources)]
    types = [item for item in found if item is not None]
    names = topics.TOPICS[topic].records if topic in topics.TOPICS else ()
    if len(types) < len(found) or not {item.full_name for item in types} <= set(names):
        raise ValueError("its columns are of types that this build does not know")
    return BulkFrames(types, names)


def _by_header(values: Sequence[bytes | None]) -> Mapping[bytes, Sequence[int]]:
    """Places of the messages with each header."""
    first = values[0] if values else None
    if first is not None and None not in values:
        head = first[:HEADER_BYTES]
        if all(map(methodcaller("startswith", head), values)):
            return {head: range(len(values))}
    groups: dict[bytes, list[int]] = {}
    for place, value in enumerate(values):
        groups.setdefault(b"" if value is None else value[:HEADER_BYTES], []).append(place)
    return groups


@cache
def _restoring(name: str) -> Mapping[str, Callable[[pl.Series], list[Any]]]:
    """How each field's column is made values of the record."""
    hints = get_type_hints(RECORDS[name])
    return {item.name: _restorer(hints[item.name]) for item in fields(RECORDS[name])}


def _restorer(hint: Any) -> Callable[[pl.Series], list[Any]]:
    if get_origin(hint) is tuple:
        member = get_args(hint)[0]
        return lambda column: _by_text(column, lambda text: _members(member, text))
    if hint is str:
        return lambda column: _by_text(column, str)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda column: _by_text(column, hint)
    return lambda column: column.to_list()


def _members(member: Any, text: str) -> tuple[Any, ...]:
    return tuple(member(item) for item in text.split(",") if item)


def _by_text(column: pl.Series, make: Callable[[str], Any]) -> list[Any]:
    """One object for each different text, where they are few."""
    texts = column.unique()
    if make is str and 2 * len(texts) > len(column):
        return column.to_list()
    known = {text: make(text) for text in texts.to_list()}
    return list(map(known.__getitem__, column.to_list()))
