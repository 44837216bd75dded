"""A process of the money path over the simulated broker: the real shard, shell and recovery.

It does what runtime.money_worker does with threads and clients: take what came, step it, commit
what follows; die at any point; come back by snapshot and journal alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Context, MoneyCore
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.money import MoneyService, intake_of
from tapeline.runtime.recovery import recover
from tapeline.runtime.replay import ShardReplay, replay_shard
from tapeline.runtime.shard import Batch, Shard

from . import world
from .broker import Broker, Fenced
from .faults import require
from .observed import ObservedCore

PULSE_NS = world.SECOND // 2
SNAPSHOT_NS = 5 * world.SECOND


class Death(Enum):
    """Where a process may be cut off."""

    BEFORE_COMMIT = "before its transaction"
    HALF_WAY = "inside its transaction, which is aborted"
    AFTER_COMMIT = "behind its commit, before it heard of it"
    REPLACED = "by a second owner, while it goes on"


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a service runs."""

    make_service: Callable[[], MoneyService[Any]]
    """what a start of the process wires up: nothing of it outlives the process"""
    watch: Callable[[MoneyCore[Any]], ObservedCore]
    """puts an observer beside a core"""
    chance: Random
    mode: str = "PAPER"
    is_lagging: bool = True
    """whether its fetches come late and out of step at times"""


class Process:
    """One service with one shard, number 0."""

    def __init__(self, place: Place, broker: Broker) -> None:
        self.place = place
        self.broker = broker
        self.skew_ns = 0
        name = place.make_service().name
        self.name = f"{name}/0"
        self.context = Context(run_id=world.RUN, service=name, shard=0, mode=place.mode)
        self.committed_state = b""
        self.deaths = 0
        self.commits = 0
        self._held: dict[TopicPartition, int] = {}
        self._snapshot_ns = self._pulse_ns = 0
        self.shard: Shard[Any]
        self.epoch = 0
        self.start()

    # ---- life and death

    def start(self) -> None:
        """Fences, recovers, and is where it was at its last commit."""
        self.epoch = self.broker.fence(self.name)
        self._snapshot_ns = self._pulse_ns = 0
        service = self.place.make_service()
        core: Any = self.place.watch(service.make_core(self.context))
        self.shard = self._new_shard(core, service)
        recover(self.shard, self.broker)  # type: ignore[arg-type]
        state = self.dumped()
        if self.committed_state:
            require(state == self.committed_state, "recovery", f"{self.name} is not where it was")
        self.committed_state = state

    def _new_shard(self, core: MoneyCore[Any], service: MoneyService[Any]) -> Shard[Any]:
        def signed_and_checked(record: Any, body: bytes) -> Any:
            signed = service.sign(record, body)
            if service.check is not None:
                service.check(signed)
            return signed

        return Shard(
            core,
            self.context,
            intake_of(core, service, None),
            build_id="simulated",
            partitions=world.PARTITIONS,
            slot_partition=service.slot,
            sign=signed_and_checked,
            signed=service.signed,
        )

    def replayed(self) -> ShardReplay:
        """The whole journal again, through `decide`, compared byte by byte."""
        service = self.place.make_service()
        shard = self._new_shard(service.make_core(self.context), service)
        return replay_shard(shard, self.broker)  # type: ignore[arg-type]

    # ---- turns

    def turn(self, now_ns: int, death: Death | None = None) -> None:
        """Takes what came, steps it, commits; or dies on the way and recovers."""
        session_ns = max(now_ns + self.skew_ns, self.shard.session_ns)
        records = self._fetched()
        due_ns = self.shard.core.next_due_ns(self.shard.state)
        if records or (due_ns is not None and due_ns <= session_ns):
            self.shard.step(Batch(session_ns, records), None)
        is_pulse_due = session_ns - self._pulse_ns >= PULSE_NS
        if death is not None:
            self._die(session_ns, death)
        elif self.shard.pending.outputs or is_pulse_due:
            self._commit(session_ns)

    def _fetched(self) -> dict[TopicPartition, Sequence[Raw]]:
        """What is there behind the positions, of each partition all, some or nothing."""
        found: dict[TopicPartition, Sequence[Raw]] = {}
        chance = self.place.chance
        for place, position in self.shard.positions.items():
            raws = self.broker.behind(place, position)
            if raws and self.place.is_lagging and chance.random() < 0.15:
                raws = raws[: chance.randrange(len(raws) + 1)]
            if raws:
                found[place] = raws
        return found

    def _messages(self, session_ns: int) -> tuple[list[Any], bool]:
        is_snapshot_due = session_ns - self._snapshot_ns >= SNAPSHOT_NS
        pulse = Watermark(
            source=self.name,
            slice=session_ns // world.SECOND,
            is_paced=False,
            is_final=False,
            ts_event_ns=session_ns,
            ts_init_ns=session_ns,
        )
        self._pulse_ns = session_ns
        messages = self.shard.transaction(with_snapshot=is_snapshot_due, watermark=pulse)
        return messages, is_snapshot_due

    def _commit(self, session_ns: int) -> None:
        messages, is_snapshot = self._messages(session_ns)
        last = self.broker.commit(self.name, self.epoch, messages)
        self.shard.committed(last)
        self._done(session_ns, is_snapshot)

    def _done(self, session_ns: int, is_snapshot: bool) -> None:
        if is_snapshot:
            self._snapshot_ns = session_ns
        self.committed_state = self.dumped()
        self.commits += 1

    def dumped(self) -> bytes:
        """The core's state."""
        core: Any = self.shard.core
        return bytes(core.core.dump(self.shard.state))

    def compare(self) -> None:
        """Raises Broken where the core and the books beside it differ."""
        core: Any = self.shard.core
        core.observer.compare(self.shard.state)

    def _die(self, session_ns: int, death: Death) -> None:
        self.deaths += 1
        if death is Death.HALF_WAY:
            messages, _ = self._messages(session_ns)
            self.broker.abort(messages[: self.place.chance.randrange(len(messages) + 1)])
        elif death is Death.AFTER_COMMIT:
            messages, is_snapshot = self._messages(session_ns)
            self.broker.commit(self.name, self.epoch, messages)
            self._done(session_ns, is_snapshot)
        elif death is Death.REPLACED:
            self._be_replaced(session_ns)
            return
        self.start()

    def _be_replaced(self, session_ns: int) -> None:
        """A second owner takes over; what the first one still tries to commit is refused."""
        old_shard, old_epoch = self.shard, self.epoch
        self.start()
        new_shard, self.shard = self.shard, old_shard
        messages, _ = self._messages(session_ns)
        self.shard = new_shard
        try:
            self.broker.commit(self.name, old_epoch, messages)
        except Fenced:
            return
        raise AssertionError("the broker let a replaced owner commit")
