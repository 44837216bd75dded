"""Risk, execution and the paper venue as twins, through all that an order can be and meet.

What is right is asked elsewhere (machine.py). Here two chains take the same inputs and come back
from snapshots at different steps; see twin.py for what must be equal.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import AssetClass, QueueRule, RiskOverlay, Venue
from tapeline.contracts.control import (
    CancelAll,
    Flatten,
    LocalTrip,
    ScopeKind,
    SetTradingState,
    SwitchLevel,
)
from tapeline.contracts.market import BookLevel, BookSnapshot, FundingRate, Quote
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    CommandKind,
    Fill,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import Denial, TradingState
from tapeline.contracts.system import Watermark
from tapeline.execution.admission import Rules
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import Context, Output

from . import world
from .twin import Maps, Twins

PERPETUAL = "BTC.PERP"
TRADED = (world.SPY, world.EWG, PERPETUAL)
GROUPS = ("g1", "g2", "g3")
SCOPES = (
    (ScopeKind.ALL, ""),
    (ScopeKind.ACCOUNT, "A"),
    (ScopeKind.GROUP, "g1"),
    (ScopeKind.INSTRUMENT, world.SPY),
)
ORDER_TYPES = ("STOP_MARKET", "STOP_LIMIT", "TWAP", "VWAP", "ICEBERG", "BRACKET")
FORMS = ("market", "limit", "near", "stop", "twap", "vwap", "iceberg", "bracket")
WAITS = (
    world.MILLI,
    world.SECOND // 2,
    *[3 * world.SECOND] * 3,
    20 * world.SECOND,
    25 * world.HOUR,
)
VENUES = st.fixed_dictionaries(
    {
        "latency_ns": st.sampled_from((0, 150 * world.MILLI)),
        "participation_max": st.sampled_from((world.D("0.3"), world.D(1))),
        "queue_rule": st.sampled_from(QueueRule),
        "is_own_size_consumed": st.sampled_from((True, True, False)),
        "borrow_rate": st.sampled_from((None, world.D("0.07"))),
    }
)
SIZES = st.lists(st.sampled_from((4.0, 30.0, 400.0)), max_size=3)
"""of the quotes that an order meets at once; none: it waits"""
TIGHTENED = ("position_weight_max", "gross_exposure_max", "cash_reserve_min")


class TwinChain(RuleBasedStateMachine):
    """Decisions of every kind, ticks, books, halts and limits that change in between."""

    met: ClassVar[Counter[str]] = Counter()
    """what all walks have come to"""

    def __init__(self, mode: str = "PAPER") -> None:
        super().__init__()
        risk = Context(run_id=world.RUN, service="risk", shard=0, mode=mode)
        execution = Context(run_id=world.RUN, service="execution", shard=0, mode=mode)
        self.now_ns = world.T0
        self.risk = Twins(lambda: RiskCore(risk))
        self.execution = Twins(lambda: ExecutionCore(execution, Rules()))
        self.prices = {**world.START_PRICES, PERPETUAL: 50.0}
        self.approvals: deque[ApprovedOrder] = deque()
        self.back: deque[Fill | OrderUpdate] = deque()
        self.orders: list[ApprovedOrder] = []
        self.number = 0

    @initialize(venue=VENUES, risk=st.sampled_from((0, 1, 3)), execution=st.sampled_from((0, 1, 3)))
    def begin(self, venue: dict[str, Any], risk: int, execution: int) -> None:
        """One twin comes back after every `risk` inputs, its execution after `execution`; the
        others the other way round."""
        self.venue = world.venue(**venue)
        self.risk.returns, self.execution.returns = (risk, execution), (execution, risk)
        for record in world.configuration():
            self.tell(self._of_this_world(record))
        self.tell(
            world.instrument(PERPETUAL, asset_class=AssetClass.CRYPTO_PERPETUAL, sector="COIN")
        )
        for name in TRADED:
            self._price(name, 0)
        self._price(world.EURUSD, 0)

    def _of_this_world(self, record: Any) -> Any:
        if isinstance(record, Venue):
            return self.venue
        if hasattr(record, "allows_short"):
            return replace(
                record, instruments=TRADED, order_types=ORDER_TYPES, approval_ttl_ns=60 * 10**9
            )
        if hasattr(record, "trigger_weights"):
            return replace(record, instruments=TRADED)
        return record

    # ---- what is said goes where it belongs

    def tell(self, record: Any, topic: str = "") -> None:
        """Both cores, where they listen."""
        topic = topic or world.TOPIC_OF.get(record.AVRO, "")
        self.heard(self.risk.take(record, self.now_ns, topic))
        inputs = {spec.topic for spec in self.execution.one.core.inputs}
        if not topic or topic in inputs:
            self.heard(self.execution.take(record, self.now_ns, topic))

    def heard(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            record = output.record
            if isinstance(record, ApprovedOrder):
                self.approvals.append(record)
                self.orders.append(record)
                self.met[f"approved {record.action.value}"] += 1
            elif isinstance(record, Fill):
                self.back.append(record)
                self.met["partial fill" if record.leaves_quantity else "last fill"] += 1
            elif isinstance(record, OrderUpdate):
                self.back.append(record)
                self._met(record)
            elif isinstance(record, Denial):
                self.met["denial"] += 1

    def _met(self, update: OrderUpdate) -> None:
        command = update.command
        if command is None:
            return
        schedule = command.approved.approval.schedule
        self.met[f"{command.kind.value} {'amendment' if command.is_amendment else ''}".strip()] += 1
        if schedule is not None and command.kind is CommandKind.SUBMIT:
            role = schedule.children[command.child_index].role
            self.met[schedule.algorithm.value if role is ChildRole.SLICE else role.value] += 1

    # ---- decisions

    @rule(
        group_id=st.sampled_from(GROUPS),
        name=st.sampled_from(TRADED),
        weight=st.integers(-25, 30),
        is_bracket=st.booleans(),
        sizes=SIZES,
    )
    def target(
        self, group_id: str, name: str, weight: int, is_bracket: bool, sizes: list[float]
    ) -> None:
        terms: dict[str, Any] = {"target_weight": world.D(weight) / 100}
        if is_bracket and weight:
            terms |= self._bracket(name, 1 if weight > 0 else -1)
        self.ask(group_id, name, **terms)
        self._meets(name, sizes)

    @rule(
        group_id=st.sampled_from(GROUPS),
        name=st.sampled_from(TRADED),
        side=st.sampled_from(Side),
        quantity=st.integers(2, 120),
        form=st.sampled_from(FORMS),
        tif=st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC)),
        sizes=SIZES,
    )
    def order(
        self,
        group_id: str,
        name: str,
        side: Side,
        quantity: int,
        form: str,
        tif: TimeInForce,
        sizes: list[float],
    ) -> None:
        sign = 1 if side is Side.BUY else -1
        terms: dict[str, Any] = {}
        if form in ("limit", "near", "iceberg"):
            # The near ones join the best level, where there is a queue.
            price = self.prices[name] - sign * (0.01 if form == "near" else 0.1)
            terms = {"order_type": OrderType.LIMIT, "limit_price": world.D(f"{price:.2f}")}
        if form == "stop":
            terms = {
                "order_type": OrderType.STOP_MARKET,
                "stop_price": self._at(name, 1 + sign / 500),
            }
        elif form == "bracket":
            terms = self._bracket(name, sign)
        elif form == "twap":
            terms |= {"algorithm": Algorithm.TWAP, "duration_ns": 9 * 10**9, "slice_count": 3}
        elif form == "vwap":
            profile = tuple(map(world.D, (3, 1, 2)))
            terms |= {
                "algorithm": Algorithm.VWAP,
                "duration_ns": 9 * 10**9,
                "volume_profile": profile,
            }
        elif form == "iceberg":
            terms |= {"algorithm": Algorithm.ICEBERG, "visible_quantity": world.D(quantity // 2)}
        if form in ("stop", "twap", "vwap", "iceberg", "bracket"):
            tif = TimeInForce.GTC
        self.ask(
            group_id,
            name,
            kind=DecisionKind.ORDER,
            side=side,
            quantity=world.D(quantity),
            time_in_force=tif,
            **terms,
        )
        self._meets(name, sizes)

    @rule(which=st.integers(0, 8), kind=st.sampled_from((DecisionKind.CANCEL, DecisionKind.AMEND)))
    def change(self, which: int, kind: DecisionKind) -> None:
        if not self.orders:
            return
        order = self.orders[-1 - which % len(self.orders)].order
        terms: dict[str, Any] = {"kind": kind, "client_order_id": order.client_order_id}
        if kind is DecisionKind.AMEND:
            terms |= {
                "side": order.side,
                "quantity": order.quantity + (1 if which % 2 else -1),
                "order_type": order.order_type,
                "stop_price": order.stop_price,
                "time_in_force": order.time_in_force,
            }
            if order.limit_price is not None:
                terms["limit_price"] = order.limit_price + world.D("0.01") * (which % 3)
        self.ask(order.group_id, order.instrument_id, account_id=order.account_id, **terms)

    def ask(self, group_id: str, name: str, **terms: Any) -> None:
        self.number += 1
        account_id = terms.pop("account_id", world.GROUPS[group_id])
        times = dict.fromkeys(("cycle_ns", "ts_event_ns", "ts_init_ns"), self.now_ns)
        record = world.decision(
            account_id,
            group_id,
            name,
            decision_id=f"d{self.number}",
            index=self.number,
            **times,
            **terms,
        )
        self.heard(self.risk.take(record, self.now_ns, topics.DECISIONS))

    def _meets(self, name: str, sizes: list[float]) -> None:
        """What risk said is delivered, and the market goes on."""
        if sizes:
            self.deliver(20)
        for size in sizes:
            self.tick(name, 0, size, "quote")

    def _bracket(self, name: str, sign: int) -> dict[str, Any]:
        return {
            "take_profit_price": self._at(name, 1 + sign * 0.004),
            "stop_loss_price": self._at(name, 1 - sign * 0.004),
        }

    def _at(self, name: str, ratio: float) -> Any:
        return world.D(f"{self.prices[name] * ratio:.2f}")

    # ---- what flows between the cores

    @rule(count=st.sampled_from((1, 3, 20)))
    def deliver(self, count: int) -> None:
        """Approvals, under a sign of life of risk."""
        beat = Watermark(
            source="risk/0",
            slice=1,
            is_paced=False,
            is_final=False,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self.execution.take(beat, self.now_ns, topics.APPROVED_ORDERS)
        for _ in range(min(count, len(self.approvals))):
            taken = self.execution.take(
                self.approvals.popleft(), self.now_ns, topics.APPROVED_ORDERS
            )
            self.heard(taken)

    @rule(count=st.sampled_from((1, 5, 50)))
    def report(self, count: int) -> None:
        """Fills and updates, to risk."""
        for _ in range(min(count, len(self.back))):
            record = self.back.popleft()
            self.heard(self.risk.take(record, self.now_ns, world.TOPIC_OF[record.AVRO]))

    # ---- the market

    @rule(
        name=st.sampled_from(TRADED),
        change=st.sampled_from((-9, -4, -1, 0, 0, 1, 4, 9)),
        size=st.sampled_from((0.0, 4.0, 30.0, 400.0)),
        kind=st.sampled_from(("trade", "quote", "quote", "book")),
    )
    def tick(self, name: str, change: int, size: float, kind: str) -> None:
        self.now_ns += world.MILLI * 200
        self._price(name, change)
        price = self.prices[name]
        if kind == "book":
            self.heard(self.execution.take(self._book(name, size), self.now_ns, topics.BOOKS))
        else:
            make = world.quote if kind == "quote" else world.trade
            record = make(name, price, size, self.now_ns, self.number)
            if isinstance(record, Quote):
                bid, ask = round(price - 0.01, 2), round(price + 0.01, 2)
                record = replace(record, bid_price=bid, ask_price=ask)
            self.heard(self.execution.take(record, self.now_ns, topics.TICKS))
        paper = self.execution.state.paper
        self.met["own size consumed"] += bool(paper.consumed)
        self.met["queued"] += any(held.ahead for held in paper.orders.values())

    def _price(self, name: str, change: int) -> None:
        self.number += 1
        self.prices[name] = price = round(max(self.prices[name] * (1 + change / 1000), 0.5), 2)
        mark = world.mark(name, price, self.now_ns)
        self.heard(self.risk.take(mark, self.now_ns, topics.MARKS))

    def _book(self, name: str, size: float) -> BookSnapshot:
        price = self.prices[name]
        return BookSnapshot(
            instrument_id=name,
            feed="sim",
            feed_sequence=self.number,
            bids=tuple(BookLevel(price=round(price - off, 2), size=size) for off in (0.01, 0.02)),
            asks=tuple(BookLevel(price=round(price + off, 2), size=size) for off in (0.01, 0.02)),
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )

    @rule(rate=st.sampled_from((-0.001, 0.0001)))
    def funding(self, rate: float) -> None:
        record = FundingRate(
            instrument_id=PERPETUAL,
            feed="sim",
            rate=rate,
            interval_ns=8 * world.HOUR,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        said = self.execution.take(record, self.now_ns, topics.FUNDING_RATES)
        self.met["funding"] += any(one.topic == topics.ACCOUNT_EVENTS for one in said)
        for output in said:
            if output.topic == topics.ACCOUNT_EVENTS:
                self.risk.take(output.record, self.now_ns, topics.ACCOUNT_EVENTS)

    @rule(wait_ns=st.sampled_from(WAITS))
    def wait(self, wait_ns: int) -> None:
        self.now_ns += wait_ns
        self.heard(self.risk.fire(self.now_ns))
        self.heard(self.execution.fire(self.now_ns))
        self._price(world.EURUSD, 0)  # else all but dollars is denied before long

    # ---- limits and switches

    @rule(account_id=st.sampled_from(world.ACCOUNTS), weight=st.sampled_from(("0.1", "0.3", "0.6")))
    def limit(self, account_id: str, weight: str) -> None:
        self.number += 1
        mandate = world.mandate(
            account_id, position_weight_max=world.D(weight), version=self.number + 1
        )
        self.tell(self._of_this_world(mandate))

    @rule(name=st.sampled_from(TIGHTENED), group_id=st.sampled_from(("", "g1")))
    def overlay(self, name: str, group_id: str) -> None:
        self.number += 1
        self.tell(
            RiskOverlay(
                overlay_id=f"overlay-{name}{group_id}",
                account_id="A",
                field=name,
                value=world.D("0.2"),
                expires_ns=self.now_ns + 5 * world.SECOND,
                version=self.number,
                group_id=group_id,
            )
        )

    @rule(changes=VENUES)
    def venue_rules(self, changes: dict[str, Any]) -> None:
        self.number += 1
        self.venue = replace(self.venue, **changes, version=self.number + 1)
        self.tell(self.venue)

    @rule(
        place=st.sampled_from(SCOPES), state=st.sampled_from((*TradingState, TradingState.ACTIVE))
    )
    def switch(self, place: tuple[ScopeKind, str], state: TradingState) -> None:
        self.tell(SetTradingState(**self._signed(place), state=state))
        if state is not TradingState.ACTIVE:
            # What is halted for good makes a walk dull: most walks are resumed at once.
            self.tell(SetTradingState(**self._signed(place), state=TradingState.ACTIVE))

    @rule(place=st.sampled_from(SCOPES), kind=st.sampled_from((CancelAll, Flatten)))
    def command(self, place: tuple[ScopeKind, str], kind: Any) -> None:
        more = {"spares_protective": False} if kind is CancelAll else {}
        name = f"command-{self.number}"
        expires_ns = self.now_ns + 5 * world.SECOND
        self.tell(kind(**self._signed(place), command_id=name, expires_ns=expires_ns, **more))

    @rule(
        place=st.sampled_from(SCOPES),
        level=st.sampled_from([one for one in SwitchLevel if one is not SwitchLevel.RESUME]),
        is_released=st.sampled_from((True, True, True, False)),
    )
    def trip(self, place: tuple[ScopeKind, str], level: SwitchLevel, is_released: bool) -> None:
        """A halt by file, at both processes."""
        trip = self.trip_of(place, level)
        self.tell(trip)
        self.met["trip"] += 1
        if is_released:
            self.tell(SetTradingState(**self._signed(place), state=TradingState.ACTIVE))

    def trip_of(self, place: tuple[ScopeKind, str], level: SwitchLevel) -> LocalTrip:
        self.number += 1
        return LocalTrip(
            trip_id=f"trip-{self.number}",
            origin="file halt",
            scope=place[0],
            scope_id=place[1],
            level=level,
            spares_protective=False,
            reason="walked",
            sequence=self.now_ns + self.number,
            expires_ns=self.now_ns + 5 * world.SECOND,
        )

    def _signed(self, place: tuple[ScopeKind, str]) -> dict[str, Any]:
        self.number += 1
        return {
            "scope": place[0],
            "scope_id": place[1],
            "sequence": self.now_ns + self.number,
            "operator": "ada",
            "reason": "walked",
            "issued_ns": self.now_ns,
            "run_id": world.RUN,
            "key_id": "ada",
            "signature": b"",
        }

    # ---- deaths

    @rule(
        of=st.sampled_from(("risk", "execution")),
        is_one=st.booleans(),
        maps=st.sampled_from(Maps),
    )
    def die(self, of: str, is_one: bool, maps: Maps) -> None:
        twins: Twins = getattr(self, of)
        (twins.one if is_one else twins.other).come_back(maps)
        self.met["deaths"] += 1
