"""Records as the log holds them, and records as a transaction writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from tapeline.contracts.frozen import acyclic

TopicPartition: TypeAlias = tuple[str, int]
"""Topic without the run's prefix, partition."""


@acyclic
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


Headers: TypeAlias = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class RawColumns:
    """Records of one partition in order, by their columns."""

    offsets: list[int] = field(default_factory=list)
    append_ms: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)

    def extend(self, other: RawColumns) -> None:
        """Puts others behind them."""
        self.offsets += other.offsets
        self.append_ms += other.append_ms
        self.keys += other.keys
        self.values += other.values
        self.headers += other.headers

    def cut(self, count: int) -> RawColumns:
        """Takes the first ones away."""
        taken = []
        for column in (self.offsets, self.append_ms, self.keys, self.values, self.headers):
            taken.append(column[:count])
            del column[:count]
        return RawColumns(*taken)  # type: ignore[arg-type]


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
    return digest_of([record.value for record in records])


def digest_of(found: Sequence[bytes | None]) -> bytes:
    """The same of the values themselves."""
    digest = ValuesDigest()
    digest.add(found)
    return digest.digest()


class ValuesDigest:
    """The same of values that come part by part."""

    def __init__(self) -> None:
        self.count = 0
        """values so far"""
        self._hash = hashlib.sha256()

    def add(self, found: Sequence[bytes | None]) -> None:
        """The next values."""
        self.count += len(found)
        values = [value or b"" for value in found]
        # One long message is digested faster than its parts.
        parts = chain.from_iterable(zip(map(_length_of, values), values, strict=True))
        self._hash.update(b"".join(parts))

    def digest(self) -> bytes:
        """Over all of them."""
        return self._hash.digest()[:16]


def _length_of(value: bytes) -> bytes:
    return _LENGTHS[len(value)] if len(value) < len(_LENGTHS) else len(value).to_bytes(4, "big")


_LENGTHS = [length.to_bytes(4, "big") for length in range(1024)]
