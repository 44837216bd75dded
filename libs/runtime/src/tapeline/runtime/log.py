"""Records as the log holds them, and records as a transaction writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

TopicPartition: TypeAlias = tuple[str, int]
"""Topic without the run's prefix, partition."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as consumed."""

    topic: str
    partition: int
    offset: int
    append_ms: int
    """broker append time, milliseconds since the epoch"""
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def header(self, name: str) -> str:
        """A header as text, or empty."""
        for key, value in self.headers:
            if key == name:
                return value.decode()
        return ""


@dataclass(frozen=True, slots=True)
class Message:
    """One record to produce."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def values_digest(records: Iterable[Raw]) -> bytes:
    """SHA-256 over the length-prefixed raw values, first 16 bytes."""
    values = [record.value or b"" for record in records]
    # One long message is digested faster than its parts.
    parts = chain.from_iterable(zip(map(_length_of, values), values, strict=True))
    return hashlib.sha256(b"".join(parts)).digest()[:16]


def _length_of(value: bytes) -> bytes:
    return _LENGTHS[len(value)] if len(value) < len(_LENGTHS) else len(value).to_bytes(4, "big")


_LENGTHS = [length.to_bytes(4, "big") for length in range(1024)]
