"""The keyed hash chain: what is hashed, and how. Pure.

One chain per topic partition. Each link is

    head = HMAC-SHA-256(key, [domain, key id, run, topic, partition,
                              offset, chain index, previous head, message digest, reading digest])

where [...] is a MessagePack array: every part stands behind its type and length, so that no two
lists of parts give the same bytes. The message digest covers what Kafka holds, the reading digest
what we made of it (the columns that views show). A partition's first link follows its genesis,
which needs the key as well: without the key nobody can write a row, nor begin a chain anew.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

ROW_DOMAIN: Final = "tapeline/audit/row/v1"
RANGE_DOMAIN: Final = "tapeline/audit/range/v1"
GENESIS_DOMAIN: Final = "tapeline/audit/genesis/v1"
EMPTY_DIGEST: Final = bytes(32)
"""what the running digest of a range starts from"""
_packed: Final = msgspec.msgpack.Encoder().encode
_unpacked: Final = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode

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


def pack_headers(headers: Headers) -> bytes:
    """Headers in their order, as a MessagePack array of [name, value]."""
    return _packed([(name, value) for name, value in headers])


def unpack_headers(packed: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """Inverse of `pack_headers`."""
    return _unpacked(packed)


def message_digest(key: bytes | None, headers: bytes, value: bytes | None, append_ms: int) -> bytes:
    """SHA-256 of a record as Kafka holds it."""
    return sha256(_packed((key, headers, value, append_ms))).digest()


def digest_of(record: Record) -> bytes:
    """The message digest of a record."""
    return message_digest(record.key, record.headers, record.value, record.append_ms)


def parts_digest(parts: tuple[Any, ...]) -> bytes:
    """SHA-256 of texts, numbers and None, each with its type and length."""
    return sha256(_packed(parts)).digest()


def range_digest(digest: bytes, offset: int, message: bytes) -> bytes:
    """The running digest of a range, one record on."""
    return sha256(_packed((digest, offset, message))).digest()


class Chain:
    """Hashes for one topic partition of one run under one key."""

    def __init__(self, key: ChainKey, run_id: str, place: Place) -> None:
        self.key_id = key.key_id
        self._secret = key.secret
        self._who = (key.key_id, run_id, *place)

    def genesis(self) -> bytes:
        """What the first link follows."""
        return self._mac((GENESIS_DOMAIN, *self._who))

    def row_head(
        self, offset: int, index: int, previous: bytes, message: bytes, reading: bytes
    ) -> bytes:
        """Head behind one row; `previous`, `message` and `reading` are digests."""
        return self._mac((ROW_DOMAIN, *self._who, offset, index, previous, message, reading))

    def range_head(
        self, offsets: tuple[int, int], count: int, index: int, previous: bytes, digest: bytes
    ) -> bytes:
        """Head behind a range of a bulk topic, from <= offset < to."""
        return self._mac((RANGE_DOMAIN, *self._who, *offsets, count, index, previous, digest))

    def _mac(self, parts: tuple[Any, ...]) -> bytes:
        return hmac.digest(self._secret, _packed(parts), "sha256")
