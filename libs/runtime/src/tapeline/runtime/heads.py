"""Heads of records: leading fields by which a core can pass a record over, and not read the rest.

Of what comes far too fast a core need know only who says it. Reading that is a fraction of decoding
the record, checking its encoding and verifying its author. What a core passes over depends on its
state and on the head alone, so that a recovery and a replay pass over the same.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import fastavro

from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import HEADER_BYTES, schema_of
from tapeline.runtime.log import Raw

_NONE = (EOFError, IndexError, ValueError, TypeError, KeyError, MemoryError)
"""What the library raises where there is no head."""


class Head(Protocol):
    """A dataclass whose fields are the leading ones of a record type; enums are text."""

    AVRO: ClassVar[str]
    """of the record type"""


@dataclass(frozen=True, slots=True)
class Unread:
    """A record of which only the head is known."""

    raw: Raw
    head: Any
    """None where the record has to be read whole to know what it is"""


class HeadReader:
    """Reads the heads of one record type, written with our own schema of it."""

    def __init__(self, kind: Any) -> None:
        schema, names = SCHEMAS[kind.AVRO], [field.name for field in fields(kind)]
        leading = schema["fields"][: len(names)]
        assert [field["name"] for field in leading] == names, f"{kind} is no head of {kind.AVRO}"
        self._kind = kind
        self._parsed = fastavro.parse_schema({**schema, "fields": leading})
        self._header = schema_of(kind.AVRO).header
        self._max_bytes = schema_of(kind.AVRO).max_bytes

    def unread(self, raw: Raw) -> Unread:
        """A record with its head."""
        return Unread(raw, None if raw.value is None else self._head(raw.value))

    def _head(self, value: bytes) -> Any:
        if value[:HEADER_BYTES] != self._header or len(value) > self._max_bytes:
            return None
        buffer = io.BytesIO(value)
        buffer.seek(HEADER_BYTES)
        try:
            found: Any = fastavro.schemaless_reader(buffer, self._parsed, None)
        except _NONE:
            return None
        return self._kind(**found)
