"""Which partition a key goes to; pure, so that stages may ask."""

from __future__ import annotations

from zlib import crc32


def partition_of(key: str, count: int) -> int:
    """The partition of a key where its hash decides: CRC-32 of its UTF-8 bytes, modulo `count`.

    Every producer of ours names the partition, as the partitioners of Kafka clients differ.
    """
    return crc32(key.encode()) % count
