"""A run: the outside world, risk, execution and its venue, step by step from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from tapeline.contracts.orders import ApprovedOrder
from tapeline.execution.admission import Rules
from tapeline.execution.app import Verdicts
from tapeline.execution.core import ExecutionCore
from tapeline.execution.last_look import LastLook
from tapeline.risk.app import Shell
from tapeline.risk.authors import Authors
from tapeline.risk.core import RiskCore
from tapeline.runtime.log import Raw
from tapeline.runtime.money import MoneyService

from . import world
from .books import same_figures
from .broker import Broker
from .execution_observer import ExecutionObserver
from .faults import require
from .keyring import Operators, Seals
from .observed import ObservedCore, Vault
from .outside import OutsideVenue
from .process import Death, Place, Process
from .risk_observer import RiskObserver
from .topics_audit import TopicsAudit, Totals
from .workload import Rates, Workload

DEATH_RATE, JUMP_RATE, TURN_RATE = 0.02, 0.01, 0.85
NO_KEYS = Path("no-keys-of-groups")
"""nobody signs decisions here"""
SETTLING_STEPS = 40


@dataclass(slots=True)
class Result:
    """What a run came to; equal seeds give equal digests."""

    seed: int
    steps: int
    digest: str = ""
    simulated_s: float = 0.0
    wall_s: float = 0.0
    deaths: dict[str, int] = field(default_factory=dict)
    records: int = 0
    totals: Totals = field(default_factory=Totals)

    @property
    def speed(self) -> float:
        """Simulated seconds a second."""
        return self.simulated_s / self.wall_s

    def __str__(self) -> str:
        totals = self.totals
        return (
            f"seed {self.seed}: {self.steps} steps, {self.simulated_s:.0f} s in "
            f"{self.wall_s:.1f} s ({self.speed:.0f} x real time), {self.records} records, "
            f"{totals.decisions} decisions, "
            f"{totals.approvals} approvals, {totals.denials} denials, {totals.sends} sends, "
            f"{totals.fills} fills, {sum(self.deaths.values())} deaths, digest {self.digest[:16]}"
        )


class Simulation:
    """One seed's run. Raises Broken as soon as something that must hold does not."""

    def __init__(self, seed: int, rates: Rates | None = None, *, is_live: bool = False) -> None:
        self.seed = seed
        self.mode = "LIVE" if is_live else "PAPER"
        self.chance = Random(seed)
        self.now_ns = world.T0
        self.audit = TopicsAudit()
        self.broker = Broker(self._on_commit)
        self.seals, operators = Seals(seed), Operators(seed)
        self.vault = Vault()
        self.workload = Workload(self.chance, self.broker, self.seals, operators, rates or Rates())
        self.broker.now_ms = self.now_ns // world.MILLI
        self.outside = OutsideVenue(self.chance, self.broker) if is_live else None
        self.workload.configure(is_live=is_live)
        self.risk = self._process(lambda: self._risk(operators), RiskObserver)
        self.execution = self._process(lambda: self._execution(operators), ExecutionObserver)
        self.deaths: dict[str, int] = {}
        self.broker_skew_ms = 0

    def _risk(self, operators: Operators) -> MoneyService[Any]:
        shell = Shell(self.seals.rings[0], operators.ring, Authors(NO_KEYS, operators.ring))
        return MoneyService(
            name="risk",
            slot=0,
            make_core=RiskCore,
            sign=shell.sign,
            signed=frozenset({ApprovedOrder.AVRO}),
            verdict=shell.verdict,
            check=shell.check,
        )

    def _execution(self, operators: Operators) -> MoneyService[Any]:
        seals = self.seals.rings[1]
        return MoneyService(
            name="execution",
            slot=1,
            make_core=lambda context: ExecutionCore(context, Rules()),
            verdict=Verdicts(seals, operators.ring).verdict,
            check=LastLook(seals).check,
        )

    def _process(self, make_service: Callable[[], MoneyService[Any]], observer: Any) -> Process:
        place = Place(
            make_service=make_service,
            watch=lambda core: ObservedCore(core, observer(mode=self.mode), self.vault),
            chance=self.chance,
            mode=self.mode,
        )
        return Process(place, self.broker)

    def _on_commit(self, raws: Sequence[Raw]) -> None:
        self.audit.heard(raws)
        if self.outside is not None:
            self.outside.heard(raws)

    # ---- a run

    def run(self, steps: int) -> Result:
        """So many steps with faults, then quiet ones until everything has ended."""
        started_s = perf_counter()
        for _ in range(steps):
            self.step()
        result = Result(seed=self.seed, steps=steps)
        result.wall_s = perf_counter() - started_s
        result.simulated_s = (self.now_ns - world.T0) / world.SECOND
        self.settle()
        result.digest = self.broker.digest()
        result.deaths = dict(sorted(self.deaths.items()))
        result.records = self.broker.record_count
        result.totals = self.audit.totals
        return result

    def step(self) -> None:
        """A while passes, the world acts, the processes take turns, and everything is checked."""
        self._pass_time()
        self.workload.step(self.now_ns)
        if self.outside is not None:
            self.outside.step(self.now_ns, self.workload.prices)
        turns = [self.risk, self.execution]
        if self.chance.random() < 0.3:
            turns.reverse()
        for process in turns:
            if self.chance.random() < TURN_RATE:
                self._turn(process)

    def _turn(self, process: Process) -> None:
        death = None
        if self.chance.random() < DEATH_RATE:
            death = self.chance.choice(tuple(Death))
            key = f"{process.name} {death.value}"
            self.deaths[key] = self.deaths.get(key, 0) + 1
        process.turn(self.now_ns, death)
        process.compare()

    def _pass_time(self) -> None:
        chance = self.chance
        kind = chance.random()
        if kind < 0.45:
            passed_ns = chance.randrange(200 * world.MILLI)
        elif kind < 0.85:
            passed_ns = chance.randrange(3 * world.SECOND)
        elif kind < 0.97:
            passed_ns = chance.randrange(world.MINUTE)
        else:
            passed_ns = chance.randrange(20 * world.MINUTE)
        self.now_ns += passed_ns
        self._jump_clocks()
        self.broker.now_ms = self.now_ns // world.MILLI + self.broker_skew_ms

    def _jump_clocks(self) -> None:
        """A machine's clock is set, forward or back; now and then all of them are right again."""
        chance = self.chance
        if chance.random() > JUMP_RATE:
            return
        jump_ns = chance.choice((0, 0, chance.randrange(-world.MINUTE, world.MINUTE)))
        victim = chance.choice((self.risk, self.execution, None))
        if victim is None:
            self.broker_skew_ms = jump_ns // world.MILLI
        else:
            victim.skew_ns = jump_ns

    # ---- the end

    def settle(self) -> None:
        """No more faults: everything is read, every order ends, and the books are compared."""
        for process in (self.risk, self.execution):
            process.skew_ns = 0
            process.place.is_lagging = False
        self.workload.end()
        latest_ns = max(self.risk.shard.session_ns, self.execution.shard.session_ns)
        self.now_ns = max(self.now_ns, latest_ns)
        for number in range(SETTLING_STEPS):
            # Orders for a day end with it.
            self.now_ns += world.SECOND if number % 10 != 9 else 25 * world.HOUR
            self.broker.now_ms = self.now_ns // world.MILLI
            self.workload.step(self.now_ns)
            if self.outside is not None:
                self.outside.is_ending = True
                self.outside.step(self.now_ns, self.workload.prices)
            if number % 10 == 5:
                self.workload.cancel_all()
            for process in (self.risk, self.execution):
                process.turn(self.now_ns)
                process.compare()
        self._compare_all()

    def _compare_all(self) -> None:
        """Every decision answered, every approval ended, one ledger in four places."""
        risk, execution = self.risk.shard, self.execution.shard
        for approval_id in self.audit.approved:
            require(approval_id in self.audit.ended, "every approval ends", approval_id)
        self._compare_answers()
        if self.outside is None:
            for account_id, book in self.audit.books.items():
                venue = execution.state.paper.accounts[account_id]
                same_figures("venue is the fold of fills", book.cash, venue.cash)
                held = {name: book.net(name) for name in world.TRADED}
                same_figures("venue is the fold of fills", held, venue.positions)
        else:
            self._compare_outside(self.outside)
        require(not risk.state.open_orders, "nothing stays open", list(risk.state.open_orders))
        require(not execution.state.orders, "nothing stays open", list(execution.state.orders))
        for account_id, account in risk.state.accounts.items():
            require(not account.reserves, "nothing stays reserved", account_id)
            require(account.open_order_count == 0, "nothing stays open", account.open_order_count)
        for process in (self.risk, self.execution):
            difference = process.replayed().difference
            require(difference is None, "replay", difference)

    def _compare_outside(self, venue: OutsideVenue) -> None:
        """The venue's own ledger is risk's and execution's."""
        risk, execution = self.risk.shard.state, self.execution.shard.state
        for account_id, book in venue.books.items():
            positions = {name: book.net(name) for name in world.TRADED}
            for ledger in (
                risk.accounts[account_id].ledger,
                execution.external.books[account_id].ledger,
            ):
                same_figures("one ledger", book.cash, ledger.cash)
                held = {name: ledger.net_quantity(name) for name in world.TRADED}
                same_figures("one ledger", positions, held)

    def _compare_answers(self) -> None:
        """A decision that was above the last one of its group when it came has an answer."""
        last: dict[str, tuple[int, int]] = {}
        for decision_id, asked in self.audit.asked.items():
            key = f"{asked.account_id}/{asked.group_id}"
            number = (asked.cycle_ns, asked.index)
            is_new = key not in last or number > last[key]
            if is_new:
                require(decision_id in self.audit.answers, "answered once", f"{decision_id}: none")
            if is_new and self.audit.answers.get(decision_id):
                last[key] = number if asked.cycle_ns <= asked.ts_init_ns else last.get(key, (0, 0))
