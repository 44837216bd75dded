"""Ids are derived, never random, so that a second run over the same inputs makes the same ids."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

NAMESPACE: Final = UUID("5b0c3c0e-6f5d-5a67-9a39-7f7c1b6d4a11")


def derive_id(run_id: str, instance: str, cause_id: str, kind: str, index: int = 0) -> str:
    """Id of the `index`-th output of one kind that a core instance makes of one cause.

    `instance` is a trigger, a group, or service/shard. The parts are length-prefixed, so that no
    two different lists of parts give the same text.
    """
    parts = (run_id, instance, cause_id, kind, str(index))
    return str(uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)))


def content_id(content_key: str) -> str:
    """Id of a record that is identified by its content alone, such as a bar."""
    return str(uuid5(NAMESPACE, content_key))
