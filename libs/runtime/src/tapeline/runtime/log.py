"""Records as the log holds them, and records as a transaction writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
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
    digest = hashlib.sha256()
    for record in records:
        value = record.value or b""
        digest.update(len(value).to_bytes(4, "big"))
        digest.update(value)
    return digest.digest()[:16]
