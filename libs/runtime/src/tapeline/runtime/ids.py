"""Ids are derived, never random, so that a second run over the same inputs makes the same ids."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from typing import Final
from uuid import UUID

NAMESPACE: Final = UUID("5b0c3c0e-6f5d-5a67-9a39-7f7c1b6d4a11")
_NAMESPACE: Final = NAMESPACE.bytes
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit that holds the variant, by that of the digest."""


def derive_id(run_id: str, instance: str, cause_id: str, kind: str, index: int = 0) -> str:
    """Id of the `index`-th output of one kind that a core instance makes of one cause.

    `instance` is a trigger, a group, or service/shard. The parts are length-prefixed, so that no
    two different lists of parts give the same text.
    """
    return _uuid5(f"{_origin(run_id, instance)}{len(cause_id)}:{cause_id}{_ending(kind, index)}")


@lru_cache(maxsize=1024)
def _ending(kind: str, index: int) -> str:
    number = str(index)
    return f"{len(kind)}:{kind}{len(number)}:{number}"


@lru_cache(maxsize=256)
def _origin(run_id: str, instance: str) -> str:
    return f"{len(run_id)}:{run_id}{len(instance)}:{instance}"


def content_id(content_key: str) -> str:
    """Id of a record that is identified by its content alone, such as a bar."""
    return _uuid5(content_key)


def _uuid5(name: str) -> str:
    """str(uuid.uuid5(NAMESPACE, name)), without the objects in between (RFC 9562, 5.5)."""
    text = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return (
        f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANTS[text[16]]}{text[17:20]}-{text[20:32]}"
    )
