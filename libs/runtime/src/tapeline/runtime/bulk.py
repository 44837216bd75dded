"""Inputs of bulk topics: they come without headers, and most of them cause nothing.

An id costs more than decoding a tick, so it is computed when somebody asks for it.
"""

from __future__ import annotations

from typing import Any

from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input
from tapeline.runtime.ids import content_id

_slots: Any = Input
_set_record = _slots.record.__set__
_set_topic = _slots.topic.__set__
_set_partition = _slots.partition.__set__
_set_offset = _slots.offset.__set__
_set_correlation_id = _slots.correlation_id.__set__
_set_session_ns = _slots.session_ns.__set__
_set_verdict = _slots.verdict.__set__


class BulkInput(Input):
    """An input without id headers."""

    __slots__ = ()

    def __init__(
        self,
        *,
        record: Any,
        topic: str,
        partition: int = -1,
        offset: int = -1,
        event_id: str = "",
        correlation_id: str = "",
        session_ns: int = 0,
        verdict: str = "",
    ) -> None:
        """The fields of an input; `event_id` is computed, whatever `replace` hands over.

        Set by the slots themselves: half the time of a frozen dataclass's own way.
        """
        _set_record(self, record)
        _set_topic(self, topic)
        _set_partition(self, partition)
        _set_offset(self, offset)
        _set_correlation_id(self, correlation_id)
        _set_session_ns(self, session_ns)
        _set_verdict(self, verdict)

    @property
    def event_id(self) -> str:
        """Id of the content, with the place where it is stored."""
        record = self.record
        key = watermark_key(record) if isinstance(record, Watermark) else record.content_key()
        return f"{content_id(key)}@{self.topic}/{self.partition}/{self.offset}"


def watermark_key(record: Watermark) -> str:
    """A watermark is identified by its source and slice."""
    return f"Watermark/{record.source}/{record.slice}"
