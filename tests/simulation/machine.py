"""The two cores with the records between them, as a state machine that hypothesis walks.

No broker, no journal: rules say what happens next, the observers' books say whether it may. Where a
walk breaks something, hypothesis gives the shortest one that does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.control import CancelAll, Flatten, ScopeKind, SetTradingState
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderType, OrderUpdate, Side, TimeInForce
from tapeline.contracts.risk import Denial, TradingState
from tapeline.contracts.system import Watermark
from tapeline.execution.admission import Rules
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import Context, Input, Output, TimerFired

from . import world
from .books import ZERO
from .execution_observer import ExecutionObserver
from .faults import require
from .observed import ObservedCore, Vault
from .risk_observer import RiskObserver

GROUPS = ("g1", "g2", "g3", world.MANUAL)
SCOPES = (
    (ScopeKind.ALL, ""),
    (ScopeKind.ACCOUNT, "A"),
    (ScopeKind.GROUP, "g1"),
    (ScopeKind.INSTRUMENT, world.SPY),
    (ScopeKind.VENUE, world.PAPER),
)
WAITS = (1, world.MILLI, world.SECOND // 2, 3 * world.SECOND, 90 * world.SECOND, 25 * world.HOUR)


class Seat:
    """One core, its state, and what it has taken."""

    def __init__(self, service: str, make: Any, observer: Any, vault: Vault) -> None:
        context = Context(run_id=world.RUN, service=service, shard=0, mode="PAPER")
        self.core = ObservedCore(make(context), observer(), vault)
        self.state = self.core.initial()
        self.count = 0

    def take(
        self,
        record: Any,
        now_ns: int,
        topic: str = "",
        verdict: str = "",
        *,
        is_copy: bool = False,
    ) -> list[Output]:
        """decide, evolve over the input, evolve over what was said."""
        self.count += 1
        origin = world.FORGED if verdict or is_copy else "event-"
        is_timer = isinstance(record, TimerFired)
        event = Input(
            record=record,
            topic="" if is_timer else topic or world.TOPIC_OF[record.AVRO],
            partition=0,
            offset=self.count,
            event_id=f"{origin}{self.count}",
            session_ns=now_ns,
            verdict=verdict,
        )
        said = list(self.core.decide(self.state, event))
        self.state = self.core.evolve(self.state, event)
        for output in said:
            if output.topic in self.core.outputs:
                self.state = self.core.evolve(self.state, output)
        return said

    def fire(self, now_ns: int) -> list[Output]:
        """The timer, where it is due."""
        due_ns = self.core.next_due_ns(self.state)
        if due_ns is None or due_ns > now_ns:
            return []
        return self.take(TimerFired(ts_event_ns=now_ns), now_ns)

    def restart(self) -> None:
        """Away and back by dump and load."""
        data = self.core.dump(self.state)
        self.state = self.core.load(data)
        require(self.core.dump(self.state) == data, "recovery", "load is not the inverse of dump")


class Chain(RuleBasedStateMachine):
    """Decisions, approvals, sends, fills and switches in any order."""

    steps: ClassVar[int] = 0
    """of all walks"""

    def __init__(self) -> None:
        super().__init__()
        vault = Vault()
        self.now_ns = world.T0
        self.risk = Seat("risk", RiskCore, RiskObserver, vault)
        self.execution = Seat(
            "execution", lambda context: ExecutionCore(context, Rules()), ExecutionObserver, vault
        )
        self.approvals: deque[ApprovedOrder] = deque()
        self.fills: deque[Fill] = deque()
        self.updates: deque[OrderUpdate] = deque()
        self.given: list[ApprovedOrder] = []
        self.sent: set[tuple[str, int]] = set()
        self.answered: set[str] = set()
        self.prices = dict(world.START_PRICES)
        self.number = 0
        self.last: Decision | None = None
        self.sequences: dict[str, int] = {}
        self.controls: list[Any] = []
        for record in world.configuration():
            self.tell_both(record)
        for name in world.START_PRICES:
            self.risk.take(world.mark(name, self.prices[name], self.now_ns), self.now_ns)

    # ---- what is said goes where it belongs

    def tell_both(self, record: Any, verdict: str = "") -> None:
        self.heard(self.risk.take(record, self.now_ns, verdict=verdict))
        known = {spec.topic for spec in self.execution.core.inputs}
        if world.TOPIC_OF[record.AVRO] in known:
            self.heard(self.execution.take(record, self.now_ns, verdict=verdict))

    def heard(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            record = output.record
            match record:
                case ApprovedOrder():
                    self.approvals.append(record)
                    self.given.append(record)
                    self._answered(record.approval.decision_id)
                case Denial():
                    self._answered(record.decision_id)
                case Fill():
                    self.fills.append(record)
                case OrderUpdate():
                    self.updates.append(record)
                    self._sent(record)

    def _answered(self, decision_id: str) -> None:
        if not decision_id.startswith("command-"):
            require(decision_id not in self.answered, "answered once", decision_id)
            self.answered.add(decision_id)

    def _sent(self, record: OrderUpdate) -> None:
        command = record.command
        if command is not None and command.kind.value == "SUBMIT":
            key = (command.approved.approval.approval_id, command.child_index)
            require(key not in self.sent, "one send", key)
            self.sent.add(key)

    # ---- rules

    @rule(
        group_id=st.sampled_from(GROUPS),
        name=st.sampled_from(world.TRADED),
        weight=st.integers(-30, 45),
    )
    def target(self, group_id: str, name: str, weight: int) -> None:
        self.ask(group_id, name, target_weight=world.D(weight) / 100)

    @rule(
        group_id=st.sampled_from(GROUPS),
        name=st.sampled_from(world.TRADED),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 4000),
        off=st.sampled_from((None, None, -30, -1, 0, 1, 30)),
        tif=st.sampled_from((TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)),
        is_reduce_only=st.booleans(),
    )
    def order(
        self,
        group_id: str,
        name: str,
        side: Side,
        quantity: int,
        off: int | None,
        tif: TimeInForce,
        is_reduce_only: bool,
    ) -> None:
        terms: dict[str, Any] = {}
        if off is not None:
            price = world.D(f"{self.prices[name] * (1 + off / 1000):.2f}")
            terms = {"order_type": OrderType.LIMIT, "limit_price": price}
        self.ask(
            group_id,
            name,
            kind=DecisionKind.ORDER,
            side=side,
            quantity=world.D(quantity) / 10,
            time_in_force=tif,
            is_reduce_only=is_reduce_only,
            **terms,
        )

    @rule(which=st.integers(0, 30))
    def cancel(self, which: int) -> None:
        if self.given:
            target = self.given[-1 - which % len(self.given)].order
            self.ask(
                target.group_id,
                target.instrument_id,
                kind=DecisionKind.CANCEL,
                client_order_id=target.client_order_id,
                account_id=target.account_id,
            )

    def ask(self, group_id: str, name: str, **terms: Any) -> None:
        self.number += 1
        account_id = terms.pop("account_id", world.GROUPS.get(group_id, "A"))
        record = world.decision(
            account_id,
            group_id,
            name,
            decision_id=f"d{self.number}",
            cycle_ns=self.now_ns,
            index=self.number,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
            **terms,
        )
        self.last = record
        self.heard(self.risk.take(record, self.now_ns))

    @rule()
    def repeat(self) -> None:
        if self.last is not None:
            self.heard(self.risk.take(self.last, self.now_ns))

    @rule(count=st.integers(1, 8), is_alive=st.sampled_from((True, True, True, False)))
    def deliver_approvals(self, count: int, is_alive: bool) -> None:
        if is_alive:
            self.beat()
        for _ in range(min(count, len(self.approvals))):
            self.heard(self.execution.take(self.approvals.popleft(), self.now_ns))

    def beat(self) -> None:
        record = Watermark(
            source="risk/0",
            slice=1,
            is_paced=False,
            is_final=False,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self.execution.take(record, self.now_ns, topics.APPROVED_ORDERS)

    @rule(which=st.integers(0, 30), verdict=st.sampled_from(("", "BAD_MAC")))
    def replay_approval(self, which: int, verdict: str) -> None:
        """A copy of what was delivered; with a verdict it is forged."""
        delivered = self.given[: len(self.given) - len(self.approvals)]
        if delivered:
            record = delivered[-1 - which % len(delivered)]
            self.heard(self.execution.take(record, self.now_ns, verdict=verdict, is_copy=True))

    @rule(count=st.integers(1, 8))
    def deliver_fills(self, count: int) -> None:
        for _ in range(min(count, len(self.fills))):
            self.heard(self.risk.take(self.fills.popleft(), self.now_ns))

    @rule(count=st.integers(1, 8))
    def deliver_updates(self, count: int) -> None:
        for _ in range(min(count, len(self.updates))):
            self.heard(self.risk.take(self.updates.popleft(), self.now_ns))

    @rule(
        name=st.sampled_from((*world.TRADED, world.EURUSD)),
        change=st.integers(-20, 20),
        size=st.sampled_from((0.0, 5.0, 400.0)),
        is_marked=st.booleans(),
    )
    def tick(self, name: str, change: int, size: float, is_marked: bool) -> None:
        price = round(max(self.prices[name] * (1 + change / 1000), 0.5), 4)
        self.prices[name] = price
        self.number += 1
        make = world.quote if change % 2 else world.trade
        record = make(name, price, size, self.now_ns, self.number)
        self.heard(self.execution.take(record, self.now_ns, topics.TICKS))
        if is_marked:
            self.risk.take(world.mark(name, price, self.now_ns), self.now_ns)

    @rule(wait_ns=st.sampled_from(WAITS))
    def wait(self, wait_ns: int) -> None:
        self.now_ns += wait_ns
        self.heard(self.risk.fire(self.now_ns))
        self.heard(self.execution.fire(self.now_ns))

    @rule(
        place=st.sampled_from(SCOPES),
        state=st.sampled_from((*TradingState, TradingState.ACTIVE)),
        verdict=st.sampled_from(("", "", "", "BAD_SIGNATURE")),
    )
    def switch(self, place: tuple[ScopeKind, str], state: TradingState, verdict: str) -> None:
        record = SetTradingState(**self.terms("SetTradingState", place, verdict), state=state)
        self.tell_both(record, verdict)
        if not verdict:
            self.controls.append(record)

    @rule(which=st.integers(0, 10))
    def old_control(self, which: int) -> None:
        if self.controls:
            self.tell_both(self.controls[which % len(self.controls)])

    @rule(place=st.sampled_from(SCOPES), kind=st.sampled_from((CancelAll, Flatten)))
    def command(self, place: tuple[ScopeKind, str], kind: Any) -> None:
        terms = self.terms(kind.__name__, place, "")
        terms |= {
            "command_id": f"command-{kind.__name__}-{place}-{terms['sequence']}",
            "expires_ns": self.now_ns + world.SECOND,
        }
        if kind is CancelAll:
            terms["spares_protective"] = False
        record = kind(**terms)
        self.tell_both(record)
        self.controls.append(record)

    def terms(self, kind: str, place: tuple[ScopeKind, str], verdict: str) -> dict[str, Any]:
        name = f"{kind}/{place}"
        number = self.sequences.get(name, 0) + 1
        if not verdict:
            self.sequences[name] = number
        return {
            "scope": place[0],
            "scope_id": place[1],
            "sequence": number,
            "operator": "ada",
            "reason": "walked",
            "issued_ns": self.now_ns,
            "run_id": world.RUN,
            "key_id": "ada",
            "signature": b"",
        }

    @rule()
    def restart_risk(self) -> None:
        self.risk.restart()

    @rule()
    def restart_execution(self) -> None:
        self.execution.restart()

    # ---- what must hold behind every step

    @invariant()
    def cores_are_what_the_books_say(self) -> None:
        Chain.steps += 1
        self.risk.core.observer.compare(self.risk.state)
        self.execution.core.observer.compare(self.execution.state)

    @invariant()
    def books_agree_but_for_what_is_on_its_way(self) -> None:
        """The venue's positions are risk's and the fills that risk has not heard of."""
        ours: Any = self.risk.core.observer
        theirs: Any = self.execution.core.observer
        for account_id, book in theirs.books.items():
            for name in world.TRADED:
                coming = sum(
                    (
                        one.quantity if one.side is Side.BUY else -one.quantity
                        for one in self.fills
                        if (one.account_id, one.instrument_id) == (account_id, name)
                    ),
                    ZERO,
                )
                if account_id in ours.books:
                    known = ours.books[account_id].net(name)
                    require(book.net(name) == known + coming, "one ledger", f"{account_id} {name}")
