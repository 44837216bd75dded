"""Records of the tape, each decoded by the schema that it was written with.

A record of an older build has another schema than ours. The services find it on the run's topic
`schemas`, which is on the tape as well: whatever they could read is read here, too.

Errors:
    RecordUnreadable    a record that the run cannot be repeated without, or one of which nobody
                        can tell any more whether the run could read it
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from tapeline.backtest.tape.bulk_frame import RECORD
from tapeline.backtest.tape.store import Tape
from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, Watermark
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.core import Input, Undecodable
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.writer_schemas import RecordedSchemas

NEEDED: Final = (topics.CONFIG, topics.CONTROL, topics.LLM_CALLS)
"""topics of which no record may be left out; of the others the services put aside what they cannot
read, and go on"""
EVERYTHING: Final = pl.lit(value=True)
WATERMARK: Final = Watermark.AVRO.rpartition(".")[2]
UNKNOWN_SCHEMA: Final = "UNKNOWN_SCHEMA"


class RecordUnreadable(Failure):
    """A record of the tape cannot be decoded."""

    exit_code = USAGE


class Decoded:
    """Reads the tape of one run; the topic `schemas` once, where it is needed."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._schemas = RecordedSchemas(self._published)

    def inputs(self, place: TopicPartition) -> Iterator[tuple[Raw, Input]]:
        """The records of a partition that is kept as bytes; raises RecordUnreadable and what the
        tape raises."""
        intake = Intake((place[0],), resolve=self._schemas.resolve)
        for raws in self._tape.chunks(place):
            for raw, event in zip(raws, intake.inputs_of(place[0], raws), strict=True):
                if isinstance(event.record, Undecodable):
                    reason = event.record.reason.partition(": ")[2]
                    self._require((place, raw.offset), event.record.code, reason)
                yield raw, event

    def columns(
        self, place: TopicPartition, wanted: pl.Expr = EVERYTHING
    ) -> Iterator[tuple[pl.DataFrame, list[Any]]]:
        """(rows of a file of a bulk topic, the record of each or its DecodeError); raises
        RecordUnreadable and what the tape raises.

        Of ticks that are columns those that are not `wanted` are left out before they are made.
        """
        is_kept = pl.col(RECORD).is_null() | (pl.col(RECORD) == WATERMARK) | wanted
        for whole, made in self._tape.columns(place):
            frame = whole.filter(is_kept)
            records = made.records(frame, self._schemas.resolve)
            self._require_all(place, frame, records)
            yield frame, records

    def odd_records(self, place: TopicPartition) -> Iterator[tuple[pl.DataFrame, list[Any]]]:
        """(a file of a bulk topic, the records that are no columns of it); raises the same."""
        for frame, made in self._tape.columns(place):
            odd = frame.filter(frame[RECORD].is_null())
            records = made.records(odd, self._schemas.resolve) if odd.height else []
            self._require_all(place, odd, records)
            yield frame, records

    def journal(self) -> Iterator[Consumed]:
        """The journals of all shards; raises RecordUnreadable and what the tape raises."""
        decoder = Decoder((Consumed.AVRO,), self._schemas.resolve)
        for number in range(self._tape.partition_count(topics.JOURNAL)):
            place = (topics.JOURNAL, number)
            for raws in self._tape.chunks(place):
                for raw in raws:
                    try:
                        yield decoder.decode(raw.value)
                    except DecodeError as error:
                        raise _unreadable((place, raw.offset), error.reason) from error

    def _require_all(self, place: TopicPartition, frame: pl.DataFrame, records: list[Any]) -> None:
        if not any(issubclass(kind, DecodeError) for kind in set(map(type, records))):
            return
        for offset, record in zip(frame["offset"].to_list(), records, strict=True):
            if isinstance(record, DecodeError):
                self._require((place, offset), record.code, record.reason)

    def _require(self, at: tuple[TopicPartition, int], code: str, reason: str) -> None:
        """Refuses what cannot be left out."""
        if at[0][0] in NEEDED:
            raise _unreadable(at, reason)
        if code == UNKNOWN_SCHEMA and not self._tape.partition_count(topics.SCHEMAS):
            raise RecordUnreadable(
                f"{_named(at)} was written by another build ({reason}), and the tape of the run "
                "has no schemas.",
                f"Delete {self._tape.folder} to pull it again, with its schemas, from the topics.",
            )

    def _published(self) -> Iterator[bytes | None]:
        for number in range(self._tape.partition_count(topics.SCHEMAS)):
            for raws in self._tape.chunks((topics.SCHEMAS, number)):
                yield from (raw.value for raw in raws)


def _named(at: tuple[TopicPartition, int]) -> str:
    (topic, number), offset = at
    return f"{topic}-{number} offset {offset}"


def _unreadable(at: tuple[TopicPartition, int], reason: str) -> RecordUnreadable:
    return RecordUnreadable(
        f"{_named(at)} cannot be decoded: {reason}.",
        "The run cannot be repeated without it: find out who wrote it, or choose another run.",
    )
