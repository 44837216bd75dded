"""Replays a derived stream over its recorded inputs and compares what it says, id by id.

A stage is at least once: after a crash it repeats outputs under the same ids. So recorded outputs
are compared as a map from id to bytes; two different bytes under one id are a difference as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import digest_body
from tapeline.runtime.core import Input, Output, Stage, Undecodable
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.replay import Difference
from tapeline.runtime.writer_schemas import schemas_on

BATCH_RECORDS = 2000


@dataclass(slots=True)
class StageReplay:
    """What came of replaying one stage."""

    name: str
    inputs: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 over ids and bodies of each output topic, in order of the ids, hex"""
    repeats: int = 0
    """recorded outputs that were said more than once, after a crash"""
    difference: Difference | None = None


async def replay_stage(
    stage: Stage, reader: LogReader, compared: Sequence[str], is_own: Callable[[Raw, Any], bool]
) -> StageReplay:
    """Steps a fresh stage over all its recorded inputs; `compared` names the output topics and
    `is_own` tells its records on them from others'."""
    result = StageReplay(stage.name)
    intake = Intake((*stage.input_topics, *compared), resolve=schemas_on(reader).resolve)
    said: dict[str, dict[str, bytes]] = {name: {} for name in compared}
    for topic in stage.input_topics:
        for partition in range(reader.partition_count(topic)):
            for output in await _run(stage, topic, partition, reader, intake, result):
                if output.topic in said and not isinstance(output.record, Watermark):
                    said[output.topic][output.event_id] = digest_body(output.record)
    for name in compared:
        then = _recorded(reader, name, (intake, is_own), result)
        _compare(name, then, said[name], result)
        result.outputs[name] = len(said[name])
        result.digests[name] = digest_of(said[name])
    return result


async def _run(
    stage: Stage,
    topic: str,
    partition: int,
    reader: LogReader,
    intake: Intake,
    result: StageReplay,
) -> list[Output]:
    place = (topic, partition)
    low, high = reader.starts([place])[place], reader.ends([place])[place]
    raws = reader.read({place: (low, high)})[place]
    result.inputs += len(raws)
    stage.restore(topic, partition, low, ())
    outputs: list[Output] = []
    for start in range(0, len(raws), BATCH_RECORDS):
        events = decoded(intake, raws[start : start + BATCH_RECORDS])
        outputs += await stage.step(topic, partition, events)
    return outputs


def decoded(intake: Intake, raws: Iterable[Raw]) -> list[Input]:
    """Inputs as the driver gives them: what cannot be decoded is in quarantine and left out."""
    events = [intake.input_of(raw, {}) for raw in raws]
    return [event for event in events if not isinstance(event.record, Undecodable)]


def _recorded(
    reader: LogReader,
    name: str,
    own: tuple[Intake, Callable[[Raw, Any], bool]],
    result: StageReplay,
) -> dict[str, bytes]:
    intake, is_own = own
    places = [(name, number) for number in range(reader.partition_count(name))]
    starts, ends = reader.starts(places), reader.ends(places)
    found: dict[str, bytes] = {}
    for raws in reader.read({place: (starts[place], ends[place]) for place in places}).values():
        for raw in raws:
            event = intake.input_of(raw, {})
            if isinstance(event.record, Watermark | Undecodable) or not is_own(raw, event.record):
                continue
            event_id, body = identity_of(event), digest_body(event.record)
            if event_id in found:
                result.repeats += 1
                if found[event_id] != body and result.difference is None:
                    result.difference = Difference(
                        result.name, 0, f"{name} id {event_id} has two contents", "one", "another"
                    )
            found.setdefault(event_id, body)
    return found


def identity_of(event: Input) -> str:
    """Id without the place where a bulk record is stored."""
    return event.event_id.partition("@")[0]


def _compare(
    name: str, then: Mapping[str, bytes], now: Mapping[str, bytes], result: StageReplay
) -> None:
    if result.difference is not None:
        return
    for event_id in [*then, *(event_id for event_id in now if event_id not in then)]:
        if then.get(event_id) != now.get(event_id):
            before, after = then.get(event_id), now.get(event_id)
            result.difference = Difference(
                result.name,
                0,
                f"{name} id {event_id}",
                "nothing" if before is None else before.hex(),
                "nothing" if after is None else after.hex(),
            )
            return


def digest_of(said: Mapping[str, bytes]) -> str:
    """SHA-256 over ids and bodies, in order of the ids, so that partitions do not matter."""
    digest = hashlib.sha256()
    for event_id in sorted(said):
        digest.update(event_id.encode())
        digest.update(len(said[event_id]).to_bytes(4, "big"))
        digest.update(said[event_id])
    return digest.hexdigest()
