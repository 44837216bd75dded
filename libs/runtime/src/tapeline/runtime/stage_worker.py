"""One life of a stage's clients: join, take partitions over, step, send, commit, leave.

Order within a partition: outputs are acknowledged before the state that contains them is sent, the
state before the offsets are committed. So whatever is committed has been sent, and a state that is
ahead of the committed offset says that the outputs up to it are out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from tapeline.contracts import topics
from tapeline.contracts.system import Heartbeat, Quarantined
from tapeline.runtime import clock
from tapeline.runtime.clients import cut_off
from tapeline.runtime.codec import DecodeError
from tapeline.runtime.core import Input, Output, Stage
from tapeline.runtime.exits import PositionLost
from tapeline.runtime.ids import content_id, derive_id
from tapeline.runtime.kafka import ClientLost, is_reachable
from tapeline.runtime.membership import AssignmentOver, Membership
from tapeline.runtime.outbox import Outbox, Sending
from tapeline.runtime.range_reader import RangeReader
from tapeline.runtime.shell import Shell
from tapeline.runtime.stage_intake import MILLISECOND_NS, Consumed, SessionClock, StageIntake
from tapeline.runtime.telemetry import get_logger
from tapeline.runtime.watchdog import Progress

RECORDS_MAX: Final = 1000
COMMIT_S: Final = 0.5
"""Between two commits while records flow; what is repeated after a crash is at most that long."""
OBSERVE_S: Final = 2.0
STEP_S: Final = 60.0
"""A stage may set its own `step_seconds_max`."""
QUARANTINE_BYTES_MAX: Final = 32 * 1024
log = get_logger(__name__)


@dataclass(slots=True)
class Lane:
    """One assigned partition."""

    topic: str
    """without prefix"""
    partition: int
    position: int
    """the next offset to step; moves before a step, so it never lags behind the state"""
    committed: int
    clock: SessionClock = field(default_factory=SessionClock)


class StageWorker:
    """Runs until the shell is stopping, or raises ClientLost or another failure."""

    def __init__(self, stage: Stage, shell: Shell, progress: Progress) -> None:
        self._stage = stage
        self._shell = shell
        self._settings = shell.settings
        self._progress = progress
        prefix = shell.settings.topic_prefix
        self._topics = {prefix + topic: topic for topic in stage.input_topics}
        self._intake = StageIntake(stage.input_topics, prefix, shell.schemas.resolve)
        self._state_intake: StageIntake | None = None
        if stage.state_topic is not None:
            self._state_intake = StageIntake((stage.state_topic,), prefix, shell.schemas.resolve)
        self._outbox = Outbox(shell.settings, stage.name, shell.metrics)
        self._member = Membership(
            shell.settings, stage.name, stage.input_topics, self._finish_before_revoke
        )
        self._lanes: dict[TopicPartition, Lane] = {}
        self._turn = asyncio.Lock()
        self._is_sent = True
        """every output up to the lanes' positions has been handed over"""
        self._sending: Sending | None = None
        """the last of them, not yet seen acknowledged"""
        self._flushed_s = clock.monotonic_s()
        self.has_progressed = False
        """something was committed in this life"""

    async def run(self) -> None:
        """The whole life."""
        is_lost = True
        try:
            await self._outbox.start()
            await self._member.start()
            observer = asyncio.create_task(self._observe())
            loop = asyncio.create_task(self._loop())
            try:
                await asyncio.wait({observer, loop}, return_when=asyncio.FIRST_COMPLETED)
                for task in (observer, loop):
                    if task.done():
                        task.result()
                is_lost = False
            finally:
                await cut_off([observer, loop])
        finally:
            self._shell.health.set_ready(False, "not connected", self._stage.name)
            self._progress.clear()
            if self._sending is not None:
                self._sending.abandon()
            await asyncio.gather(self._member.stop(is_lost), self._outbox.stop(is_lost))

    async def _loop(self) -> None:
        fetch: asyncio.Task[dict[TopicPartition, list[Consumed]]] | None = None
        fetch_epoch = -1
        try:
            while not self._shell.stopping.is_set():
                self._member.check_joined()
                if self._member.is_new:
                    # What a fetch under way still brings belongs to the assignment before.
                    await cut_off([fetch])
                    fetch = None
                    await self._take_over()
                    continue
                if fetch is None:
                    fetch_epoch = self._member.epoch
                    fetch = asyncio.create_task(self._member.fetch(RECORDS_MAX))
                await asyncio.wait({fetch}, timeout=0.5)
                if not fetch.done():
                    continue
                done, fetch = fetch, None
                batches = self._fetched(done)
                if fetch_epoch == self._member.epoch and not self._member.is_new:
                    await self._turn_of(batches, fetch_epoch)
        finally:
            await cut_off([fetch])
        with suppress(AssignmentOver):
            await self._finish_before_revoke()

    def _fetched(
        self, done: asyncio.Task[dict[TopicPartition, list[Consumed]]]
    ) -> dict[TopicPartition, list[Consumed]]:
        try:
            return done.result()
        except OffsetOutOfRangeError as error:
            raise self._position_lost(str(error)) from error

    async def _turn_of(self, batches: dict[TopicPartition, list[Consumed]], epoch: int) -> None:
        """One poll: every partition's batch, then a commit when it is time."""
        async with self._turn:
            try:
                self._is_sent = False
                for place in sorted(batches, key=self._order):
                    if self._member.epoch == epoch:
                        await self._step(self._lanes[place], batches[place])
                self._is_sent = True
                is_due = clock.monotonic_s() - self._flushed_s >= COMMIT_S
                if is_due or not batches:
                    await self._flush(epoch)
            except AssignmentOver as over:
                # The lanes are ahead of what is committed, so they will be restored.
                log.info("assignment_over", stage=self._stage.name, reason=str(over))
        self._shell.health.set_ready(
            self._stage.is_warm() and not self._member.is_new, "NOT_READY", self._stage.name
        )

    def _order(self, place: TopicPartition) -> tuple[int, int]:
        return self._stage.input_topics.index(self._topics[place.topic]), place.partition

    async def _step(self, lane: Lane, batch: Sequence[Consumed]) -> None:
        fresh = batch
        if batch[0].offset < lane.position:
            fresh = [consumed for consumed in batch if consumed.offset >= lane.position]
        if not fresh:
            return
        inputs, rejected = self._decoded(lane, fresh)
        lane.position = fresh[-1].offset + 1
        outputs = [*rejected, *await self._stepped(lane, inputs)]
        if outputs:
            correlations = {}
            if any(output.correlation_id is None and output.causation_id for output in outputs):
                # Bulk inputs have none, and their ids are dear.
                correlations = {
                    event.event_id: event.correlation_id for event in inputs if event.correlation_id
                }
            # While these are on their way the next batch is stepped, but not sent.
            await self._see_acknowledged()
            self._sending = await self._outbox.begin(outputs, lane.partition, correlations)
        self._shell.metrics.consumed.labels(lane.topic).inc(len(fresh))
        self._shell.metrics.last_progress.labels(self._stage.name).set(clock.wall_ns() / 1e9)
        self._progress.at(_name(lane), lane.position)

    async def _see_acknowledged(self) -> None:
        if self._sending is not None:
            await self._outbox.finish(self._sending)
            self._sending = None

    async def _stepped(self, lane: Lane, inputs: Sequence[Input]) -> Sequence[Output]:
        if not inputs:
            return ()
        limit_s = float(getattr(self._stage, "step_seconds_max", STEP_S))
        self._progress.excuse(limit_s)
        started = perf_counter()
        async with asyncio.timeout(limit_s):
            outputs = tuple(await self._stage.step(lane.topic, lane.partition, inputs))
        self._shell.metrics.step_seconds.labels(self._stage.name).observe(perf_counter() - started)
        self._progress.excuse(0.0)
        return outputs

    def _decoded(self, lane: Lane, batch: Sequence[Consumed]) -> tuple[list[Input], list[Output]]:
        inputs: list[Input] = []
        rejected: list[Output] = []
        for consumed, found in zip(batch, self._intake.inputs_of(batch, lane.clock), strict=True):
            if isinstance(found, DecodeError):
                rejected.append(self._quarantined(lane, consumed, found))
            else:
                inputs.append(found)
        return inputs, rejected

    def _quarantined(self, lane: Lane, consumed: Consumed, error: DecodeError) -> Output:
        self._shell.metrics.undecodable.labels(lane.topic, error.code).inc()
        where = f"{lane.topic}/{lane.partition}/{consumed.offset}"
        log.warning("quarantined", stage=self._stage.name, place=where, code=error.code)
        # Both times are the broker's: a repeat after a crash has the same bytes.
        stored_ns = consumed.timestamp * MILLISECOND_NS
        record = Quarantined(
            source_topic=lane.topic,
            source_partition=lane.partition,
            source_offset=consumed.offset,
            code=error.code,
            reason=error.reason,
            raw=(consumed.value or b"")[:QUARANTINE_BYTES_MAX],
            ts_event_ns=stored_ns,
            ts_init_ns=stored_ns,
        )
        event_id = derive_id(self._settings.run_id, self._stage.name, where, "Quarantined")
        return Output(
            topic=topics.QUARANTINE, key=lane.topic, record=record, event_id=event_id, partition=0
        )

    async def _finish_before_revoke(self) -> None:
        """Waits for the turn under way and commits what it has done."""
        async with self._turn:
            await self._flush(self._member.epoch)

    async def _flush(self, epoch: int) -> None:
        """States, then offsets, of the lanes that have moved since the last time."""
        await self._see_acknowledged()
        if self._member.is_new or not self._is_sent:
            return  # the lanes are ahead of what was sent, or belong to an assignment before
        moved = {
            place: lane
            for place, lane in self._lanes.items()
            if place in self._member.assigned and lane.position != lane.committed
        }
        self._flushed_s = clock.monotonic_s()
        if not moved:
            return
        positions = {place: lane.position for place, lane in moved.items()}
        for lane in moved.values():
            states = tuple(self._stage.checkpoint(lane.topic, lane.partition))
            if states:
                await self._outbox.send(states, lane.partition)
        await self._member.commit(
            {place: (positions[place], self._metadata(lane)) for place, lane in moved.items()},
            epoch,
        )
        for place, lane in moved.items():
            lane.committed = positions[place]
        self.has_progressed = True

    def _metadata(self, lane: Lane) -> str:
        low = self._stage.low_water(lane.topic, lane.partition, lane.position)
        assert 0 <= low <= lane.position, f"{self._stage.name}: low water {low} of {lane.position}"
        return f"{low} {lane.clock.at(low)} {lane.clock.now_ns}"

    async def _take_over(self) -> None:
        """Brings every assigned partition's state to its committed offset, then lets records in."""
        epoch, places = self._member.epoch, sorted(self._member.assigned, key=self._order)
        self._shell.health.set_ready(False, "taking partitions over", self._stage.name)
        self._progress.clear()
        committed = await self._member.committed(places)
        async with RangeReader(self._settings) as reader:
            for place in places:
                lane, kept = self._lanes.get(place), committed.get(place)
                if lane is not None and kept is not None and lane.position == kept[0]:
                    continue  # nobody has committed since: the state at hand is the right one
                self._lanes[place] = await self._restored(place, kept, reader)
                if epoch != self._member.epoch:
                    return
        self._lanes = {place: self._lanes[place] for place in places}
        if epoch != self._member.epoch:
            return
        for lane in self._lanes.values():
            self._progress.at(_name(lane), lane.position)
        self._member.resume_at({place: lane.position for place, lane in self._lanes.items()})
        log.info("partitions_taken_over", stage=self._stage.name, count=len(places))

    async def _restored(
        self, place: TopicPartition, kept: tuple[int, str] | None, reader: RangeReader
    ) -> Lane:
        topic, partition = self._topics[place.topic], place.partition
        beginning, _ = await reader.bounds(topic, partition)
        committed, (low, base_ns, now_ns) = beginning, (beginning, 0, 0)
        if kept is not None:
            committed, (low, base_ns, now_ns) = kept[0], _parsed(kept)
        if committed < beginning:
            raise self._position_lost(f"{place.topic}-{partition} at {committed}")
        states = await self._states(partition, reader)
        start = self._stage.restore(topic, partition, committed, states)
        if self._state_intake is None:
            start = low
        lane = Lane(topic, partition, position=max(start, committed), committed=committed)
        lane.clock = SessionClock(base_ns if start == low else 0)
        first = max(beginning, min(start, committed))
        # Records between the committed offset and a state ahead of it only move the clock.
        async for chunk in reader.read(topic, partition, first, lane.position):
            inputs, _ = self._decoded(lane, chunk)
            await self._stepped(lane, [event for event in inputs if start <= event.offset])
            self._progress.touch()
        if now_ns and start <= committed:
            lane.clock.set(now_ns)
        return lane

    async def _states(self, partition: int, reader: RangeReader) -> tuple[Input, ...]:
        """The latest state record of each key, in the order they were written."""
        topic = self._stage.state_topic
        if topic is None or self._state_intake is None:
            return ()
        latest: dict[bytes, Consumed] = {}
        start, end = await reader.bounds(topic, partition)
        async for chunk in reader.read(topic, partition, start, end):
            for consumed in chunk:
                latest.pop(consumed.key or b"", None)
                latest[consumed.key or b""] = consumed
            self._progress.touch()
        states, unused_clock = [], SessionClock()
        for consumed in latest.values():
            if consumed.value is None:
                continue
            try:
                states.append(self._state_intake.input_of(consumed, unused_clock))
            except DecodeError as error:
                # The state is rebuilt from the inputs where the stage can.
                log.error("state_unreadable", stage=self._stage.name, reason=str(error))
        return tuple(states)

    def _position_lost(self, where: str) -> PositionLost:
        return PositionLost(
            f"{self._stage.name} has not read {where}, and retention has deleted it.",
            "Records are missing for good. Reset the group's offsets, or start a new run.",
        )

    async def _observe(self) -> None:
        """Tells how far the partitions are and that this stage is alive."""
        while True:
            if not await asyncio.to_thread(is_reachable, self._settings):
                raise ClientLost.because(f"Kafka is away from {self._stage.name}")
            ends = await self._member.ends()
            for place, end in ends.items():
                lane = self._lanes.get(place)
                if lane is not None and not self._member.is_new:
                    name = _name(lane)
                    self._progress.at(name, max(lane.position, self._member.position(place)))
                    self._progress.ends_at(name, end)
            lags = self._progress.lags()
            for place in ends:
                if (lane := self._lanes.get(place)) is not None:
                    gauge = self._shell.metrics.lag.labels(lane.topic, str(lane.partition))
                    gauge.set(lags.get(_name(lane), 0))
            await self._outbox.send([self._heartbeat(sum(lags.values()))])
            await asyncio.sleep(OBSERVE_S)

    def _heartbeat(self, lag: int) -> Output:
        now_ns = clock.wall_ns()
        record = Heartbeat(
            service=self._stage.name,
            shard=-1,
            build_id=self._settings.build_id,
            lag=lag,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        event_id = content_id(f"Heartbeat/{self._stage.name}/{now_ns}")
        return Output(
            topic=topics.HEARTBEATS,
            key=self._stage.name,
            record=record,
            event_id=event_id,
            partition=0,
        )


def _name(lane: Lane) -> str:
    return f"{lane.topic}/{lane.partition}"


def _parsed(kept: tuple[int, str]) -> tuple[int, int, int]:
    """Low water, session time in front of it, session time at the committed offset."""
    committed, metadata = kept
    parts = metadata.split()
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return committed, 0, 0  # committed by a tool
    low, base_ns, now_ns = map(int, parts)
    return min(low, committed), base_ns, now_ns
