"""Ids are derived, never random, so that a second run over the same inputs makes the same ids."""

from __future__ import annotations

from hashlib import sha1
from typing import Final
from uuid import UUID

NAMESPACE: Final = UUID("5b0c3c0e-6f5d-5a67-9a39-7f7c1b6d4a11")
_NAMESPACE: Final = NAMESPACE.bytes


def derive_id(run_id: str, instance: str, cause_id: str, kind: str, index: int = 0) -> str:
    """Id of the `index`-th output of one kind that a core instance makes of one cause.

    `instance` is a trigger, a group, or service/shard. The parts are length-prefixed, so that no
    two different lists of parts give the same text.
    """
    parts = (run_id, instance, cause_id, kind, str(index))
    return _uuid5("".join([f"{len(part)}:{part}" for part in parts]))


def content_id(content_key: str) -> str:
    """Id of a record that is identified by its content alone, such as a bar."""
    return _uuid5(content_key)


def _uuid5(name: str) -> str:
    """str(uuid.uuid5(NAMESPACE, name)), without the objects in between (RFC 9562, 5.5)."""
    digest = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()
    version, variant = 0x50 | digest[6] & 0x0F, 0x80 | digest[8] & 0x3F
    text = digest[:6].hex() + f"{version:02x}{digest[7]:02x}{variant:02x}" + digest[9:16].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
