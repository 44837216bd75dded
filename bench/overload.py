"""A runaway group beside another account of its shard, in process: what the other one notices.

One shard of risk under its driver without I/O: decoding, order of inputs, decide, evolve, sealing,
journal. Time is simulated: it passes by what the processor took for a batch, and by a set time for
each transaction. So the figures do not depend on what else the machine does, and hold for one core
of its own; they are no measurement of Kafka.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from time import thread_time_ns
from typing import Any, Final

from bench.decisions import RING, entry
from bench.records import ACCOUNT, GROUP, INSTRUMENTS, START_NS, configuration, mark
from bench.tables import Result, percentile, table
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Account, Limits, Mandate, TradingGroup
from tapeline.contracts.orders import ApprovedOrder, OrderAction
from tapeline.contracts.risk import Denial, DenialCode, TradingState, TradingStateChanged
from tapeline.risk.core import RiskCore
from tapeline.runtime.codec import encode
from tapeline.runtime.collector import spare_what_is_loaded
from tapeline.runtime.core import Context
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw
from tapeline.runtime.shard import Batch, Shard
from tapeline.runtime.signing import seal

SECOND: Final = 1_000_000_000
COMMIT_NS: Final = 5_000_000
"""what a transaction takes on an idle broker"""
PULSE_NS: Final = 500_000_000
WAIT_NS: Final = 1_000_000
"""for the next record, when there is none"""
RUNAWAY, RUNAWAY_GROUP = "RUNAWAY", "runaway"
OTHERS_A_SECOND: Final = 100
CALM_S: Final = 0.5
"""before the runaway begins"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument("--runaway", type=int, default=10_000, help="its decisions a second")
    parser.add_argument("--rate", type=int, default=100, help="the rate its mandate allows")
    parser.add_argument("--seconds", type=float, help="of each run (10)")


def run(options: argparse.Namespace) -> Result:
    """The other account alone, then beside the runaway; in turns."""
    seconds = options.seconds or (2.0 if options.quick else 10.0)
    spare_what_is_loaded()
    calm, rushed = Seen(), Seen()
    for _ in range(3):
        play(0, seconds, calm, options.rate)
        play(options.runaway, seconds, rushed, options.rate)
    ratio = percentile(rushed.waits, 0.99) / percentile(calm.waits, 0.99)
    worst = sorted(rushed.waits, reverse=True)[:8]
    rows = [
        [name, f"{len(seen.waits):,}"]
        + [f"{percentile(seen.waits, share) / 1e6:.1f}" for share in (0.5, 0.99)]
        + [f"{100 * seen.busy_ns / seen.passed_ns:.0f} %", seen.halted, f"{seen.passed_max}"]
        + [f"{seen.denials:.1f}"]
        for name, seen in (("alone", calm), (f"beside {options.runaway:,}/s", rushed))
    ]
    head = ["the other account", "decisions", "answer p50 ms", "p99", "processor"]
    head += ["runaway halted after ms", "most in a second", "its denials/s"]
    title = "A runaway group on the shard of another account, in process"
    notes = [
        f"  p99 beside it is {ratio:.2f} x that alone (goal: 2). The rate set is {options.rate}.",
        f"  Longest waits beside it, ms: {', '.join(f'{one / 1e6:.0f}' for one in worst)}.",
        f"  Simulated time: processor time of each batch, {COMMIT_NS / 1e6:.0f} ms a transaction.",
    ]
    print(table(title, head, rows, notes), flush=True)
    return {
        "alone_p99_ms": percentile(calm.waits, 0.99) / 1e6,
        "beside_p99_ms": percentile(rushed.waits, 0.99) / 1e6,
        "ratio": ratio,
        "halted_after_ms": rushed.halted_after_ns / 1e6,
        "most_in_a_second": rushed.passed_max,
    }


@dataclass
class Seen:
    """What a run has shown."""

    waits: list[int] = field(default_factory=list)
    """nanoseconds from a decision of the other account to the commit of its answer"""
    busy_ns: int = 0
    passed_ns: int = 0
    halted_after_ns: int = 0
    passed_max: int = 0
    denials: float = 0.0

    @property
    def halted(self) -> str:
        """For the table."""
        return f"{self.halted_after_ns / 1e6:.0f}" if self.halted_after_ns else "-"


def shard_of_risk(rate: int) -> Shard[Any]:
    """A shard with both accounts and marks."""
    context = Context(run_id="bench", service="risk", shard=0, mode="PAPER")
    core = RiskCore(context)
    names = tuple(spec.topic for spec in core.inputs)
    partitions = dict.fromkeys((*names, topics.JOURNAL), 1)
    shard: Shard[Any] = Shard(
        core,
        context,
        Intake(names),
        build_id="bench",
        partitions=partitions,
        slot_partition=0,
        sign=sealed,
        signed=frozenset({ApprovedOrder.AVRO}),
    )
    records = [copy for record in configuration() for copy in copies(record, rate)]
    marks = [mark(name, START_NS) for name in INSTRUMENTS]
    shard.step(
        Batch(
            START_NS,
            {
                (topics.CONFIG, 0): raws(topics.CONFIG, records, 0),
                (topics.MARKS, 0): raws(topics.MARKS, marks, 0),
            },
        ),
        None,
    )
    shard.transaction(with_snapshot=False, watermark=None)
    return shard


def sealed(record: Any, body: bytes) -> Any:
    """As risk signs."""
    return seal(record, RING, body) if isinstance(record, ApprovedOrder) else record


def copies(record: Any, rate: int) -> list[Any]:
    """A config record, and the runaway's own where it needs one."""
    match record:
        case Account():
            return [record, replace(record, account_id=RUNAWAY)]
        case Mandate():
            limits = Limits(group_order_rate_max=rate)
            return [record, replace(record, account_id=RUNAWAY, limits=limits)]
        case TradingGroup():
            return [record, replace(record, group_id=RUNAWAY_GROUP, account_id=RUNAWAY)]
    return [record]


def raws(topic: str, records: Sequence[Any], first: int) -> list[Raw]:
    """Records as they are consumed."""
    return [
        Raw(topic, 0, first + number, 0, b"", encode(record), (("event_id", b"e"),))
        for number, record in enumerate(records)
    ]


def arrivals(runaway_a_second: int, seconds: float) -> list[tuple[int, Decision]]:
    """(when, decision) in order."""
    found = []
    end_ns, step_ns = int(seconds * SECOND), SECOND // OTHERS_A_SECOND
    for number, at_ns in enumerate(range(0, end_ns, step_ns)):
        found.append((at_ns, small(number, at_ns, ACCOUNT, GROUP)))
    if runaway_a_second:
        begin_ns = int(CALM_S * SECOND)
        for number, at_ns in enumerate(range(begin_ns, end_ns, SECOND // runaway_a_second)):
            found.append((at_ns, small(number, at_ns, RUNAWAY, RUNAWAY_GROUP)))
    return sorted(found, key=lambda item: item[0])


def small(number: int, at_ns: int, account_id: str, group_id: str) -> Decision:
    """An order that is approved where nothing stands in the way."""
    asked = entry(number, START_NS + at_ns)
    return replace(
        asked,
        decision_id=f"{group_id}-{number:08d}-0000-0000-000000000000",
        account_id=account_id,
        group_id=group_id,
        quantity=Decimal(1),
        take_profit_price=None,
        stop_loss_price=None,
    )


@dataclass
class Play:
    """One run in simulated time, nanoseconds from its start."""

    shard: Shard[Any]
    seen: Seen
    now_ns: int = 0
    last_commit_ns: int = 0
    passed: list[int] = field(default_factory=list)
    """when orders of the runaway were approved"""
    answered_together: int = 0

    def step(self, records: Sequence[Raw]) -> None:
        """Steps what has come, and commits what follows."""
        begun, stepped_ns = thread_time_ns(), self.now_ns
        places = {(topics.DECISIONS, 0): records} if records else {}
        self.shard.step(Batch(START_NS + self.now_ns, places), None)
        said = [stamped.output.record for stamped in self.shard.pending.outputs]
        is_commit = bool(said) or self.now_ns - self.last_commit_ns >= PULSE_NS
        if is_commit:
            self.shard.transaction(with_snapshot=False, watermark=None)
        took_ns = thread_time_ns() - begun
        self.seen.busy_ns += took_ns
        self.now_ns += took_ns + (COMMIT_NS if is_commit else 0)
        if is_commit:
            self.last_commit_ns = self.now_ns
        for record in said:
            self._hear(record, stepped_ns)

    def _hear(self, record: Any, stepped_ns: int) -> None:
        if isinstance(record, ApprovedOrder) and record.action is not OrderAction.CANCEL:
            if record.order.account_id == RUNAWAY:
                self.passed.append(stepped_ns)
        elif isinstance(record, Denial) and record.code is DenialCode.ORDER_RATE:
            self.answered_together += 1
        elif isinstance(record, TradingStateChanged) and record.state is TradingState.HALTED:
            after_ns = self.now_ns - int(CALM_S * SECOND)
            self.seen.halted_after_ns = max(self.seen.halted_after_ns, after_ns)

    def is_due(self) -> bool:
        """Whether a timer is."""
        due_ns = self.shard.core.next_due_ns(self.shard.state)
        return due_ns is not None and due_ns <= START_NS + self.now_ns


def play(runaway_a_second: int, seconds: float, seen: Seen, rate: int) -> None:
    """One run."""
    waiting, position = arrivals(runaway_a_second, seconds), 0
    inputs = raws(topics.DECISIONS, [asked for _, asked in waiting], 0)
    run_ = Play(shard_of_risk(rate), seen)
    while position < len(waiting):
        behind = position
        while behind < len(waiting) and waiting[behind][0] <= run_.now_ns:
            behind += 1
        if behind == position and not run_.is_due():
            run_.now_ns += WAIT_NS
            continue
        run_.step(inputs[position:behind])
        seen.waits += [
            run_.now_ns - at_ns
            for at_ns, asked in waiting[position:behind]
            if asked.account_id == ACCOUNT
        ]
        position = behind
    seen.passed_ns += run_.now_ns
    together = run_.answered_together / max(seconds - CALM_S, 1.0)
    seen.denials = max(seen.denials, together)
    for at_ns in run_.passed:
        within = sum(at_ns <= other < at_ns + SECOND for other in run_.passed)
        seen.passed_max = max(seen.passed_max, within)
