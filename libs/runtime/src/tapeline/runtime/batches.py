"""What a shard steps together, and what it has said since its last transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tapeline.contracts.control import LocalTrip
from tapeline.contracts.system import ConsumedBatch
from tapeline.runtime.codec import Decoder
from tapeline.runtime.core import Input, Output
from tapeline.runtime.intake import Verdict
from tapeline.runtime.log import Message, Raw, TopicPartition

LOCAL_TYPES: Final = (LocalTrip.AVRO,)
"""What may come by no topic."""
LOCAL_DECODER: Final = Decoder(LOCAL_TYPES)
NOWHERE: Final[TopicPartition] = ("", -1)
"""the place of what came by no topic"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs to be stepped together."""

    session_ns: int
    records: Mapping[TopicPartition, Sequence[Raw]]
    slice: int = 0
    is_final: bool = False
    local: Sequence[Any] = ()
    """records that came by no topic; stepped in front of all others"""


@dataclass(frozen=True, slots=True)
class Stamped:
    """An output of the core with its place: which input of which batch said it."""

    output: Output
    cause: Input
    batch: int
    input: int
    index: int
    body: bytes
    """Avro body, before it is signed"""
    digest: bytes


@dataclass(slots=True)
class Pending:
    """What the next transaction will hold."""

    batches: list[ConsumedBatch] = field(default_factory=list)
    outputs: list[Stamped] = field(default_factory=list)
    notes: list[Stamped] = field(default_factory=list)
    """outputs on topics that others write to as well, such as incidents"""
    quarantined: list[Message] = field(default_factory=list)
    slices: list[tuple[int, int, bool]] = field(default_factory=list)


def local_inputs(
    batch: Batch, verdict: Verdict, recorded: Mapping[TopicPartition, Mapping[int, str]] | None
) -> list[Input]:
    """What was said to the process itself, as inputs; `recorded` are the journaled verdicts."""
    found = []
    for index, record in enumerate(batch.local):
        known = None if recorded is None else recorded.get(NOWHERE, {}).get(index, "")
        found.append(
            Input(
                record=record,
                topic=NOWHERE[0],
                partition=NOWHERE[1],
                offset=index,
                event_id=record.trip_id,
                session_ns=batch.session_ns,
                verdict=verdict(NOWHERE[0], record) if known is None else known,
            )
        )
    return found
