"""Approvals that come again, many at a time, from many threads, through crashes and second owners.

The topic takes what fifty threads publish in whatever order they run; execution reads it in
batches that are cut anywhere, dies and comes back. What it says on the topics is counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from simulation import world
from simulation.broker import Broker
from simulation.execution_observer import ExecutionObserver
from simulation.keyring import Operators, Seals
from simulation.observed import ObservedCore, Vault
from simulation.process import Death, Place, Process

from tapeline.contracts import topics
from tapeline.contracts.orders import (
    Approval,
    ApprovedOrder,
    CommandKind,
    Mode,
    Order,
    OrderAction,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.contracts.system import Watermark
from tapeline.execution.admission import Rules
from tapeline.execution.app import Verdicts
from tapeline.execution.core import ExecutionCore
from tapeline.execution.last_look import LastLook
from tapeline.execution.state import ExecutionState
from tapeline.runtime.codec import Decoder
from tapeline.runtime.keys import KeyRing
from tapeline.runtime.log import Raw
from tapeline.runtime.money import MoneyService
from tapeline.runtime.signing import seal

THREADS = 50
WAVE = 100
"""Approvals that are in flight together."""


@dataclass(slots=True)
class Replays:
    """What came of it."""

    approvals: int = 0
    copies: int = 0
    deaths: int = 0
    sends: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def repeated(self) -> list[tuple[str, int]]:
        """What was sent more than once."""
        return [key for key, count in self.sends.items() if count > 1]


def service_of(ring: KeyRing, operators: Operators) -> MoneyService[ExecutionState]:
    """Execution as a process wires it up."""
    return MoneyService(
        name="execution",
        slot=1,
        make_core=lambda context: ExecutionCore(context, Rules()),
        verdict=Verdicts(ring, operators.ring).verdict,
        check=LastLook(ring).check,
    )


class Replayer:
    """One execution shard, and the threads that write to it."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.result = Replays()
        self._updates = Decoder(topics.TOPICS[topics.ORDER_UPDATES].records)
        self.broker = Broker(self._heard)
        self.seals, operators = Seals(seed), Operators(seed)
        ring = self.seals.rings[1]
        vault = Vault()
        for record in (world.instrument(world.SPY), world.venue(latency_ns=0), world.account("A")):
            self.broker.publish([world.message(record, "", "world")])
        self.process = Process(
            Place(
                make_service=lambda: service_of(ring, operators),
                watch=lambda core: ObservedCore(core, ExecutionObserver(), vault),
                chance=self.chance,
            ),
            self.broker,
        )
        self.now_ns = world.T0
        # An approval that overtakes the account it is for is denied, and rightly.
        self.process.place.is_lagging = False
        self.process.turn(self.now_ns)
        self.process.place.is_lagging = True

    def _heard(self, raws: Sequence[Raw]) -> None:
        for raw in raws:
            if raw.topic != topics.ORDER_UPDATES:
                continue
            record = self._updates.decode(raw.value)
            if isinstance(record, OrderUpdate) and record.command is not None:
                command = record.command
                if command.kind is CommandKind.SUBMIT:
                    key = (command.approved.approval.approval_id, command.child_index)
                    self.result.sends[key] += 1

    def run(self, approvals: int) -> Replays:
        """So many approvals, fifty copies of each."""
        for first in range(0, approvals, WAVE):
            self._wave(first, min(WAVE, approvals - first))
        self.result.deaths = self.process.deaths
        return self.result

    def _wave(self, first: int, count: int) -> None:
        self.now_ns += 2 * world.SECOND
        self.broker.now_ms = self.now_ns // world.MILLI
        self.beat(self.now_ns)
        records = [self.approved(number) for number in range(first, first + count)]
        lock, start = threading.Lock(), threading.Barrier(THREADS + 1)
        seeds = [self.chance.randrange(2**32) for _ in range(THREADS)]
        threads = [
            threading.Thread(target=self._publish, args=(records, seed, lock, start))
            for seed in seeds
        ]
        for thread in threads:
            thread.start()
        start.wait()
        while any(thread.is_alive() for thread in threads):
            self._read(lock)
        for thread in threads:
            thread.join()
        for _ in range(3):
            self._read(lock)
        self.result.approvals += count
        self.result.copies += count * THREADS

    def beat(self, now_ns: int) -> None:
        """Risk's sign of life."""
        record = Watermark(
            source="risk/0",
            slice=1,
            is_paced=False,
            is_final=False,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        self.broker.publish([world.message(record, "beat", "risk/0", topics.APPROVED_ORDERS)])

    def _read(self, lock: threading.Lock) -> None:
        death = self.chance.choice(tuple(Death)) if self.chance.random() < 0.05 else None
        with lock:
            self.process.turn(self.now_ns, death)

    def _publish(
        self,
        records: Sequence[ApprovedOrder],
        seed: int,
        lock: threading.Lock,
        start: threading.Barrier,
    ) -> None:
        """One thread: every approval once, in an order of its own."""
        chance = Random(seed)
        messages = [
            world.message(record, f"copy-{seed}-{record.approval.approval_id}", "anyone")
            for record in chance.sample(list(records), len(records))
        ]
        start.wait()
        while messages:
            some, messages = messages[:7], messages[7:]
            with lock:
                self.broker.publish(some)

    def approved(self, number: int) -> ApprovedOrder:
        """A genuine approval of an order that nothing fills."""
        order = Order(
            client_order_id=f"order-{number}",
            account_id="A",
            group_id="g1",
            instrument_id=world.SPY,
            venue=world.PAPER,
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            quantity=world.D(1),
            limit_price=world.D(1),
            time_in_force=TimeInForce.GTD,
            expire_time_ns=self.now_ns + world.SECOND,
            is_reduce_only=False,
            is_post_only=False,
            arrival_price=world.D(100),
        )
        approval = Approval(
            approval_id=f"approval-{number}",
            decision_id=f"decision-{number}",
            run_id=world.RUN,
            mode=Mode.PAPER,
            account_id="A",
            key_id="",
            issued_ns=self.now_ns,
            expires_ns=self.now_ns + 5 * world.SECOND,
            last_send_ns=self.now_ns + 5 * world.SECOND,
            child_count=1,
            mac=b"",
        )
        plain = ApprovedOrder(
            action=OrderAction.OPEN,
            order=order,
            approval=approval,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        return seal(plain, self.seals.rings[0])
