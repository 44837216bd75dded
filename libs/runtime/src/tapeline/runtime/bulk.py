"""Inputs of bulk topics: they come without headers, and most of them cause nothing.

An id costs more than decoding a tick, so it is computed when somebody asks for it.
"""

from __future__ import annotations

from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input
from tapeline.runtime.ids import content_id


class BulkInput(Input):
    """An input without id headers."""

    __slots__ = ()

    @property
    def event_id(self) -> str:
        """Id of the content, with the place where it is stored."""
        record = self.record
        key = watermark_key(record) if isinstance(record, Watermark) else record.content_key()
        return f"{content_id(key)}@{self.topic}/{self.partition}/{self.offset}"

    @event_id.setter
    def event_id(self, value: str) -> None:
        """The constructor's empty default."""


def watermark_key(record: Watermark) -> str:
    """A watermark is identified by its source and slice."""
    return f"Watermark/{record.source}/{record.slice}"
