"""The keyed hash chain: what is hashed, and how. Pure.

One chain per topic partition. Each link is

    head = HMAC-SHA-256(key, domain, key id, run, topic, partition,
                        offset, chain index, previous head, message digest, reading digest)

with every part length-prefixed, so that no two lists of parts give the same bytes. The message
digest covers what Kafka holds, the reading digest what we made of it (the columns that views show).
A partition's first link follows its genesis, which needs the key as well: without the key nobody
can write a row, nor begin a chain anew.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

ROW_DOMAIN: Final = b"tapeline/audit/row/v1"
RANGE_DOMAIN: Final = b"tapeline/audit/range/v1"
GENESIS_DOMAIN: Final = b"tapeline/audit/genesis/v1"
DIGEST_BYTES: Final = 32
EMPTY_DIGEST: Final = bytes(DIGEST_BYTES)
"""what the running digest of a range starts from"""
_ABSENT: Final = 0xFFFF_FFFF
"""length of what is not there, as distinct from empty"""
_PAIR: Final = struct.Struct(">IqIq")
_TRIPLE: Final = struct.Struct(">IqIqIq")
_DIGEST_LENGTH: Final = struct.pack(">I", DIGEST_BYTES)
_COUNT: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">q")

Place = tuple[str, int]
"""Topic without the run's prefix, partition."""
Headers = Iterable[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as Kafka holds it."""

    topic: str
    """without the run's prefix"""
    partition: int
    offset: int
    append_ms: int
    """broker append time, milliseconds UTC"""
    key: bytes | None
    headers: bytes
    """as `pack_headers` writes them"""
    value: bytes | None

    @property
    def place(self) -> Place:
        """Where its chain is."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKey:
    """A secret and its public name."""

    key_id: str
    secret: bytes


def prefixed(part: bytes | None) -> bytes:
    """A part behind its length."""
    if part is None:
        return _COUNT.pack(_ABSENT)
    return _COUNT.pack(len(part)) + part


def pack_headers(headers: Headers) -> bytes:
    """Headers in their order, names and values behind their lengths."""
    return b"".join(prefixed(name.encode()) + prefixed(value) for name, value in headers)


def unpack_headers(packed: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """Inverse of `pack_headers`."""
    parts: list[bytes | None] = []
    at = 0
    while at < len(packed):
        (length,) = _COUNT.unpack_from(packed, at)
        at += _COUNT.size
        if length == _ABSENT:
            parts.append(None)
            continue
        parts.append(packed[at : at + length])
        at += length
    names, values = parts[::2], parts[1::2]
    return tuple(((name or b"").decode(), value) for name, value in zip(names, values, strict=True))


def message_digest(key: bytes | None, headers: bytes, value: bytes | None, append_ms: int) -> bytes:
    """SHA-256 of a record as Kafka holds it."""
    return sha256(
        prefixed(key) + prefixed(headers) + prefixed(value) + _LONG.pack(append_ms)
    ).digest()


def digest_of(record: Record) -> bytes:
    """The message digest of a record."""
    return message_digest(record.key, record.headers, record.value, record.append_ms)


def texts_digest(texts: Iterable[str | None]) -> bytes:
    """SHA-256 of texts, each behind its length; None is not the empty text."""
    return sha256(
        b"".join(prefixed(None if text is None else text.encode()) for text in texts)
    ).digest()


def range_digest(digest: bytes, offset: int, message: bytes) -> bytes:
    """The running digest of a range, one record on."""
    return sha256(digest + _LONG.pack(offset) + message).digest()


class Chain:
    """Hashes for one topic partition of one run under one key."""

    def __init__(self, key: ChainKey, run_id: str, place: Place) -> None:
        self.key_id = key.key_id
        self._secret = key.secret
        topic, partition = place
        parts = (key.key_id.encode(), run_id.encode(), topic.encode())
        who = b"".join(prefixed(part) for part in parts) + prefixed(_LONG.pack(partition))
        self._row = prefixed(ROW_DOMAIN) + who
        self._range = prefixed(RANGE_DOMAIN) + who
        self._genesis = prefixed(GENESIS_DOMAIN) + who

    def genesis(self) -> bytes:
        """What the first link follows."""
        return hmac.digest(self._secret, self._genesis, "sha256")

    def row_head(
        self, offset: int, index: int, previous: bytes, message: bytes, reading: bytes
    ) -> bytes:
        """Head behind one row; `previous`, `message` and `reading` are digests."""
        return hmac.digest(
            self._secret,
            self._row
            + _PAIR.pack(8, offset, 8, index)
            + prefixed(previous)
            + _DIGEST_LENGTH
            + message
            + _DIGEST_LENGTH
            + reading,
            "sha256",
        )

    def range_head(
        self, offsets: tuple[int, int], count: int, index: int, previous: bytes, digest: bytes
    ) -> bytes:
        """Head behind a range of a bulk topic, from <= offset < to."""
        return hmac.digest(
            self._secret,
            self._range
            + _TRIPLE.pack(8, offsets[0], 8, offsets[1], 8, count)
            + prefixed(_LONG.pack(index))
            + prefixed(previous)
            + _DIGEST_LENGTH
            + digest,
            "sha256",
        )
