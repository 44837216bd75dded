"""Replays a shard of the money path from its topics, along its journal, and compares every byte.

Nothing is produced and nothing signed. The recorded outputs are compared record by record with
what the core says now, without their authentication codes; the first difference is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, Snapshot
from tapeline.runtime.codec import digest_body
from tapeline.runtime.core import Output
from tapeline.runtime.log_reader import LogReader, slicer
from tapeline.runtime.positions import update_digest
from tapeline.runtime.recovery import SNAPSHOT_DECODER, ranges_of, read_journal
from tapeline.runtime.shard import JournalError, Shard, Stamped

WINDOW_RECORDS = 200_000
Recorded = dict[tuple[int, int], dict[int, list[Output]]]
"""(journal sequence, batch) -> input -> what was said about it"""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where then and now differ."""

    instance: str
    sequence: int
    where: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        return (
            f"{self.instance} journal {self.sequence}, {self.where}:\n"
            f"  recorded {self.recorded}\n  replayed {self.replayed}"
        )


@dataclass(slots=True)
class ShardReplay:
    """What came of replaying one shard."""

    instance: str
    inputs: int = 0
    journal_records: int = 0
    states_compared: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 over the bodies of each output topic, hex, as replayed (equal to the recorded ones
    unless `difference` is set)"""
    difference: Difference | None = None


def replay_shard(
    shard: Shard[Any],
    reader: LogReader,
    *,
    on_output: Callable[[Output], None] = lambda _output: None,
) -> ShardReplay:
    """Follows the journal of a fresh shard from its first record."""
    result = ShardReplay(shard.context.instance)
    journal = [consumed for _, consumed in read_journal(reader, shard.slot_partition, 0)]
    if journal and journal[0].sequence != 1:
        raise JournalError(
            f"{result.instance}: the journal begins at {journal[0].sequence}; retention has cut "
            "its beginning, so the run can no longer be replayed whole"
        )
    recorded = _recorded_outputs(shard, reader)
    states = _recorded_states(shard, reader)
    hashes: dict[str, Any] = {}
    for window in windows(journal):
        records = reader.read(ranges_of(window))
        result.inputs += sum(map(len, records.values()))
        read = slicer(records)
        for consumed in window:
            follow(shard, consumed, read, recorded, result)
            if result.difference is not None:
                return result
            for stamped in shard.pending.outputs:
                on_output(stamped.output)
                _count(stamped, hashes, result)
            shard.settle()
            _compare_state(shard, states, result)
    result.digests = {topic: hashes[topic].hexdigest() for topic in sorted(hashes)}
    return result


def windows(journal: Sequence[Consumed]) -> Iterator[list[Consumed]]:
    """The journal in parts whose inputs fit in memory."""
    window: list[Consumed] = []
    size = 0
    for consumed in journal:
        window.append(consumed)
        size += sum(item.count for batch in consumed.batches for item in batch.ranges)
        if size >= WINDOW_RECORDS:
            yield window
            window, size = [], 0
    if window:
        yield window


def _recorded_outputs(shard: Shard[Any], reader: LogReader) -> Recorded:
    places = [(topic, shard.context.shard) for topic in shard.core.outputs]
    starts, ends = reader.starts(places), reader.ends(places)
    found = reader.read({place: (starts[place], ends[place]) for place in places})
    outputs = shard.own_outputs(raw for raws in found.values() for raw in raws)
    recorded: Recorded = {}
    for (sequence, batch, index), said in outputs.items():
        recorded.setdefault((sequence, batch), {})[index] = said
    return recorded


def _recorded_states(shard: Shard[Any], reader: LogReader) -> dict[int, bytes]:
    """Digests of the snapshots that compaction has left, by sequence."""
    place = (topics.SNAPSHOTS, shard.slot_partition)
    low, high = reader.starts([place])[place], reader.ends([place])[place]
    found: dict[int, bytes] = {}
    for raw in reader.read({place: (low, high)})[place]:
        snapshot = SNAPSHOT_DECODER.decode(raw.value)
        assert isinstance(snapshot, Snapshot)
        found[snapshot.sequence] = snapshot.state_digest
    return found


def follow(
    shard: Shard[Any],
    consumed: Consumed,
    read: Any,
    recorded: Recorded,
    result: ShardReplay,
) -> None:
    """Steps one journal record and compares what is said with what was said."""
    if consumed.sequence != shard.sequence + 1:
        raise JournalError(f"{result.instance}: journal {consumed.sequence} does not follow")
    result.journal_records += 1
    digest = hashlib.sha256(shard.digest)
    for number, journaled in enumerate(consumed.batches):
        batch, verdicts = shard.batch_of(journaled, read)
        begin = len(shard.pending.outputs)
        shard.step(batch, verdicts)
        said = shard.pending.outputs[begin:]
        result.difference = _first_difference(
            consumed, number, said, recorded, shard.core.outputs, result.instance
        )
        if result.difference is not None:
            return
        for stamped in said:
            update_digest(digest, stamped.output, stamped.digest)
    if digest.digest() != consumed.output_digest:
        result.difference = Difference(
            result.instance,
            consumed.sequence,
            "digest of the outputs",
            consumed.output_digest.hex(),
            digest.hexdigest(),
        )


def _first_difference(
    consumed: Consumed,
    batch: int,
    said: Sequence[Stamped],
    recorded: Recorded,
    compared: tuple[str, ...],
    instance: str,
) -> Difference | None:
    place = (consumed.sequence, batch)
    now: dict[int, list[Output]] = {}
    for stamped in said:
        if stamped.output.topic in compared:
            now.setdefault(stamped.input, []).append(stamped.output)
    then = recorded.get(place, {})
    for index in sorted(now.keys() | then.keys()):
        before, after = then.get(index, []), now.get(index, [])
        for number in range(max(len(before), len(after))):
            one = before[number] if number < len(before) else None
            other = after[number] if number < len(after) else None
            if _bytes_of(one) != _bytes_of(other):
                where = f"batch {batch}, input {index}, output {number}"
                return Difference(instance, consumed.sequence, where, str(one), str(other))
    return None


def _bytes_of(output: Output | None) -> tuple[str, str, str, bytes] | None:
    if output is None:
        return None
    return (output.topic, output.key, output.event_id, digest_body(output.record))


def _count(stamped: Stamped, hashes: dict[str, Any], result: ShardReplay) -> None:
    topic = stamped.output.topic
    result.outputs[topic] = result.outputs.get(topic, 0) + 1
    hashes.setdefault(topic, hashlib.sha256()).update(
        len(stamped.digest).to_bytes(4, "big") + stamped.digest
    )


def _compare_state(shard: Shard[Any], states: dict[int, bytes], result: ShardReplay) -> None:
    """Compares the state behind a journal record with its snapshot, where there is one."""
    then = states.get(shard.sequence)
    if then is None:
        return
    result.states_compared += 1
    now = hashlib.sha256(shard.core.dump(shard.state)).digest()
    if now != then and result.difference is None:
        result.difference = Difference(
            result.instance, shard.sequence, "digest of the state", then.hex(), now.hex()
        )
