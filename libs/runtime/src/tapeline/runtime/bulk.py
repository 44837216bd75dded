"""Inputs of bulk topics: they come without headers, and most of them cause nothing.

An id costs more than decoding a tick, so it is computed when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Protocol

from tapeline.contracts.system import Watermark
from tapeline.runtime.columns import fill_slots
from tapeline.runtime.core import Input
from tapeline.runtime.ids import content_id


class BulkInput(Input):
    """An input without id headers."""

    @property
    def event_id(self) -> str:
        """Id of the content, with the place where it is stored."""
        record = self.record
        key = watermark_key(record) if isinstance(record, Watermark) else record.content_key()
        return f"{content_id(key)}@{self.topic}/{self.partition}/{self.offset}"

    @event_id.setter
    def event_id(self, value: str) -> None:
        """What a constructor is given; it is computed anyhow."""


class Stored(Protocol):
    """A record as a consumer hands it out."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def bulk_input(
    record: Any, topic: str, stored: Stored, session_ns: int, verdict: str = ""
) -> BulkInput:
    """The input of a record without headers."""
    return BulkInput(
        record=record,
        topic=topic,
        partition=stored.partition,
        offset=stored.offset,
        session_ns=session_ns,
        verdict=verdict,
    )


def bulk_inputs(
    records: Sequence[Any],
    topic: str,
    stored: Sequence[Stored],
    sessions_ns: Iterable[int],
    verdicts: Iterable[str] = repeat(""),
) -> list[BulkInput]:
    """The inputs of records of one partition, all without headers."""
    columns = {
        "record": records,
        "topic": repeat(topic),
        "partition": repeat(stored[0].partition if stored else -1),
        "offset": [item.offset for item in stored],
        "event_id": repeat(""),
        "correlation_id": repeat(""),
        "session_ns": sessions_ns,
        "verdict": verdicts,
    }
    return fill_slots(BulkInput, columns, len(records))


def watermark_key(record: Watermark) -> str:
    """A watermark is identified by its source and slice."""
    return f"Watermark/{record.source}/{record.slice}"
