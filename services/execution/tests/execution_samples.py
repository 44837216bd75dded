"""Records for the tests, and a driver that steps the core as the Kafka driver does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from map_order import reversed_maps

from tapeline.contracts import topics
from tapeline.contracts.accounts import (
    CashAdjustment,
    FundingPayment,
    PositionCorrection,
    VenueDrift,
)
from tapeline.contracts.config import Account, AssetClass, Instrument, Venue
from tapeline.contracts.control import (
    CancelAll,
    Flatten,
    LocalTrip,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
)
from tapeline.contracts.market import (
    AggressorSide,
    BookSnapshot,
    FundingRate,
    Quote,
    TickOrigin,
    Trade,
)
from tapeline.contracts.orders import (
    Algorithm,
    Approval,
    ApprovedOrder,
    ChildRole,
    Fill,
    Mode,
    Order,
    OrderAction,
    OrderStatus,
    OrderType,
    OrderUpdate,
    ReportNotice,
    Schedule,
    ScheduledChild,
    Side,
    TimeInForce,
    VenueReport,
)
from tapeline.contracts.risk import TradingState
from tapeline.contracts.system import Incident, Watermark
from tapeline.execution import admission
from tapeline.execution.admission import Rules
from tapeline.execution.core import TICKS, ExecutionCore
from tapeline.execution.state import ExecutionState
from tapeline.execution.venues.arrival import earliest, next_due_ns
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Context, Input, Output, TimerFired
from tapeline.runtime.ids import content_id

RUN = "run-1"
CONTEXT = Context(run_id=RUN, service="execution", shard=0, mode="PAPER")
SECOND = 1_000_000_000
DAY = 86_400 * SECOND
T0 = 17_000 * DAY + 15 * 3600 * SECOND
"""a quarter to nothing in particular: 15:00 UTC of some day"""


def dec(value: str | int) -> Decimal:
    return Decimal(value)


def account(**changes: Any) -> Account:
    plain = Account(
        account_id="a1",
        shard=0,
        base_currency="USD",
        initial_cash=dec(100_000),
        venue="PAPER",
        mode=Mode.PAPER,
        version=1,
    )
    return replace(plain, **changes)


def instrument(**changes: Any) -> Instrument:
    plain = Instrument(
        instrument_id="SPY.ARCA",
        symbol="SPY",
        venue="ARCA",
        asset_class=AssetClass.EQUITY,
        currency="USD",
        tick_size=dec("0.01"),
        lot_size=dec(1),
        quantity_min=dec(1),
        notional_min=dec(1),
        multiplier=dec(1),
        sector="index",
        calendar="XNYS",
        is_permitted=True,
        version=1,
    )
    return replace(plain, **changes)


def venue(**changes: Any) -> Venue:
    plain = Venue(
        venue="PAPER",
        adapter="paper",
        maker_fee_rate=dec("0.0001"),
        taker_fee_rate=dec("0.0005"),
        half_spread_rate=dec("0.001"),
        latency_ns=0,
        participation_max=dec(0),
        borrow_rate=dec(0),
        version=1,
    )
    return replace(plain, **changes)


def order(name: str = "o1", **changes: Any) -> Order:
    plain = Order(
        client_order_id=name,
        account_id="a1",
        group_id="g1",
        instrument_id="SPY.ARCA",
        venue="PAPER",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        quantity=dec(10),
        time_in_force=TimeInForce.GTC,
        is_reduce_only=False,
        is_post_only=False,
        arrival_price=dec(100),
    )
    return replace(plain, **changes)


def limit(name: str = "o1", price: str = "100", **changes: Any) -> Order:
    return order(name, order_type=OrderType.LIMIT, limit_price=dec(price), **changes)


def approved(
    of: Order,
    *,
    now_ns: int = T0,
    action: OrderAction = OrderAction.OPEN,
    approval_id: str | None = None,
    **changes: Any,
) -> ApprovedOrder:
    approval = Approval(
        approval_id=approval_id or f"approval-{of.client_order_id}",
        decision_id=f"decision-{of.client_order_id}",
        run_id=RUN,
        mode=Mode.PAPER,
        account_id="a1",
        key_id="k1",
        issued_ns=now_ns,
        expires_ns=now_ns + 5 * SECOND,
        last_send_ns=now_ns + 5 * SECOND,
        child_count=1,
        mac=b"m" * 32,
    )
    return ApprovedOrder(
        action=action,
        order=of,
        approval=replace(approval, **changes),
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )


FOREVER = 2**63 - 1


def sliced(
    of: Order,
    quantities: Sequence[str | int],
    *,
    algorithm: Algorithm = Algorithm.TWAP,
    now_ns: int = T0,
    gap_ns: int = 60 * SECOND,
    **changes: Any,
) -> ApprovedOrder:
    """An approval of slices, `gap_ns` apart; each may be sent until the end of the last gap."""
    end_ns = now_ns + max(len(quantities), 1) * gap_ns
    children = tuple(
        ScheduledChild(
            role=ChildRole.SLICE,
            quantity=dec(quantity),
            order_type=of.order_type,
            limit_price=of.limit_price,
            stop_price=of.stop_price,
            send_ns=now_ns + (0 if algorithm is Algorithm.ICEBERG else number * gap_ns),
            last_send_ns=end_ns - 1,
        )
        for number, quantity in enumerate(quantities)
    )
    schedule = Schedule(algorithm=algorithm, end_ns=end_ns, children=children)
    plain: dict[str, Any] = {
        "schedule": schedule,
        "child_count": len(children),
        "last_send_ns": end_ns - 1,
    }
    return approved(of, now_ns=now_ns, **{**plain, **changes})


def bracket(
    of: Order, take_profit: str = "", stop_loss: str = "", *, now_ns: int = T0, **changes: Any
) -> ApprovedOrder:
    """An approval of an entry with protective legs."""
    entry = ScheduledChild(
        role=ChildRole.WHOLE,
        quantity=of.quantity,
        order_type=of.order_type,
        limit_price=of.limit_price,
        stop_price=of.stop_price,
        send_ns=now_ns,
        last_send_ns=now_ns + 5 * SECOND,
    )
    leg = replace(entry, limit_price=None, stop_price=None, last_send_ns=FOREVER)
    profit = replace(
        leg,
        role=ChildRole.TAKE_PROFIT,
        order_type=OrderType.LIMIT,
        limit_price=dec(take_profit or 0),
    )
    loss = replace(
        leg,
        role=ChildRole.STOP_LOSS,
        order_type=OrderType.STOP_MARKET,
        stop_price=dec(stop_loss or 0),
    )
    legs = tuple(one for one, level in ((profit, take_profit), (loss, stop_loss)) if level)
    schedule = Schedule(algorithm=Algorithm.NONE, children=(entry, *legs))
    plain: dict[str, Any] = {"schedule": schedule, "child_count": 1 + len(legs)}
    return approved(of, now_ns=now_ns, **{**plain, **changes})


def amend(of: Order, *, now_ns: int = T0, **changes: Any) -> ApprovedOrder:
    """An approval of new terms for an order."""
    approval_id = changes.pop("approval_id", f"amend-{of.client_order_id}")
    return approved(of, now_ns=now_ns, action=OrderAction.AMEND, approval_id=approval_id, **changes)


def cancel(of: Order, *, now_ns: int = T0, **changes: Any) -> ApprovedOrder:
    approval_id = changes.pop("approval_id", f"cancel-{of.client_order_id}")
    return approved(
        of, now_ns=now_ns, action=OrderAction.CANCEL, approval_id=approval_id, **changes
    )


def trade(ts_ns: int, price: float, size: float = 0.0, instrument_id: str = "SPY.ARCA") -> Trade:
    return Trade(
        instrument_id=instrument_id,
        feed="test",
        feed_sequence=ts_ns,
        trade_id="",
        price=price,
        size=size,
        side=AggressorSide.NONE,
        origin=TickOrigin.EXCHANGE,
        quality=(),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def quote(ts_ns: int, bid: float, ask: float, size: float = 0.0) -> Quote:
    return Quote(
        instrument_id="SPY.ARCA",
        feed="test",
        feed_sequence=ts_ns,
        bid_price=bid,
        ask_price=ask,
        bid_size=size,
        ask_size=size,
        origin=TickOrigin.EXCHANGE,
        quality=(),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def watermark(ts_ns: int, source: str = "risk/0", *, is_paced: bool = False) -> Watermark:
    return Watermark(
        source=source,
        slice=1,
        is_paced=is_paced,
        is_final=False,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def set_state(
    state: TradingState,
    sequence: int = 1,
    scope: ScopeKind = ScopeKind.ALL,
    scope_id: str = "",
    run_id: str = RUN,
) -> SetTradingState:
    return SetTradingState(
        scope=scope,
        scope_id=scope_id,
        state=state,
        sequence=sequence,
        operator="op",
        reason="test",
        issued_ns=T0,
        run_id=run_id,
        key_id="op",
        signature=b"s",
    )


def cancel_all(sequence: int = 1, **changes: Any) -> CancelAll:
    plain = CancelAll(
        command_id="c1",
        scope=ScopeKind.ALL,
        scope_id="",
        spares_protective=True,
        expires_ns=T0 + DAY,
        sequence=sequence,
        operator="op",
        reason="test",
        issued_ns=T0,
        run_id=RUN,
        key_id="op",
        signature=b"s",
    )
    return replace(plain, **changes)


def flatten(sequence: int = 1, **changes: Any) -> Flatten:
    plain = Flatten(
        command_id="f1",
        scope=ScopeKind.ALL,
        scope_id="",
        expires_ns=T0 + DAY,
        sequence=sequence,
        operator="op",
        reason="test",
        issued_ns=T0,
        run_id=RUN,
        key_id="op",
        signature=b"s",
    )
    return replace(plain, **changes)


TOPIC_OF = {
    name: topic
    for topic in (topics.CONTROL, topics.CONFIG, topics.APPROVED_ORDERS, topics.VENUE_REPORTS)
    for name in topics.TOPICS[topic].records
}


def recorded(output: Output) -> Output:
    """An output as it is read back from its topic."""
    decoder = Decoder(topics.TOPICS[output.topic].records)
    return Output(
        topic=output.topic,
        key=output.key,
        record=decoder.decode(encode(output.record)),
        event_id=output.event_id,
    )


@dataclass(slots=True)
class Driver:
    """Steps the core; keeps what it took and said."""

    core: ExecutionCore = field(default_factory=lambda: ExecutionCore(CONTEXT))
    state: ExecutionState = field(default_factory=ExecutionState)
    now_ns: int = T0
    count: int = 0
    history: list[Input | Output] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def step(self, record: Any, verdict: str = "", topic: str = "") -> Sequence[Output]:
        """One input, and what the core says to it."""
        self.count += 1
        event_id = f"event-{self.count}"
        if isinstance(record, Trade | Quote | BookSnapshot | FundingRate):
            event_id = f"{content_id(record.content_key())}@ticks/0/{self.count}"
        topic = topic or TOPIC_OF.get(getattr(record, "AVRO", ""), topics.TICKS)
        event = Input(
            record=record,
            topic="" if isinstance(record, TimerFired) else topic,
            partition=0,
            offset=self.count,
            event_id=event_id,
            correlation_id=f"workflow-{self.count}",
            session_ns=self.now_ns,
            verdict=verdict,
        )
        return self.take(event)

    def take(self, event: Input) -> Sequence[Output]:
        """decide, evolve over the input, evolve over each output as recorded."""
        led_to, as_said = self._led_to(event), self._as_said(event)
        before = self.dumped()
        outputs = self.core.decide(self.state, event)
        assert before == self.dumped(), "deciding changes nothing"
        for said, _ in as_said:
            assert list(outputs) == list(said), "a snapshot changes nothing that is said"
        self._same_the_long_way(event, outputs)
        self.state = self.core.evolve(self.state, event)
        self.history.append(event)
        for output in outputs:
            back = recorded(output)
            self.state = self.core.evolve(self.state, back)
            self.outputs.append(output)
            self.history.append(back)
        assert led_to is None or led_to == self.state, "a talk leads to where evolving comes to"
        for _, state in as_said:
            assert state == self.state, "a shard that goes on is where one that recovers comes to"
        paper = self.state.paper
        first_ns = earliest(next_due_ns(paper, event.session_ns), paper.accrual_ns)
        is_in_time = first_ns is None or (paper.due_ns is not None and paper.due_ns <= first_ns)
        assert is_in_time, "the paper venue's timer may come too early, never too late"
        return outputs

    def _same_the_long_way(self, event: Input, outputs: Sequence[Output]) -> None:
        """What is known at once to say nothing or to change little is the same by the whole way."""
        if isinstance(event.record, LocalTrip):
            return
        state = self.core.load(self.dumped())
        said = self.core.talk(state, event).outputs
        assert list(outputs) == said, "what is passed over would have said nothing"
        if type(event.record) in TICKS:
            after = self.core._evolve_input(self.core.load(self.dumped()), event)
            kept = self.core.evolve(self.core.load(self.dumped()), event)
            assert kept == after, "a tick is remembered as it is seen"

    def _as_said(self, event: Input) -> list[tuple[Sequence[Output], ExecutionState]]:
        """What a shard says that comes from a snapshot, and its state when it evolves over the very
        outputs that it said; those of this driver have been to their topics and back. Of two
        orders that the maps of a snapshot may come in at least one is not that of this driver."""
        found = []
        for data in (dumped := self.dumped(), reversed_maps(dumped)):
            state = self.core.load(data)
            outputs = self.core.decide(state, event)
            for item in (event, *outputs):
                if isinstance(item, Input) or item.topic in self.core.outputs:
                    state = self.core.evolve(state, item)
            found.append((outputs, state))
        return found

    def _led_to(self, event: Input) -> ExecutionState | None:
        """The state that the words themselves lead to, where a backtest takes it over; see
        tapeline.backtest.engine.desk."""
        record, state = event.record, self.core.load(self.dumped())
        if isinstance(record, ApprovedOrder):
            if event.verdict or admission.is_answered(state, record):
                return None
            return self.core.talk(state, event).state
        asks_sizes = any(
            venue.participation_max or venue.impact_rate for venue in state.venues.values()
        )
        is_open = isinstance(record, Trade) and record.instrument_id in state.paper.by_instrument
        if not is_open or asks_sizes:
            return None
        after = self.core.talk(state, event).state
        if record.instrument_id in after.paper.by_instrument:
            return None
        return self.core.evolve(after, event)

    def beat(self) -> None:
        """Risk's sign of life, now."""
        self.step(watermark(self.now_ns), topic=topics.APPROVED_ORDERS)

    def at(self, now_ns: int) -> Sequence[Output]:
        """Moves the session clock and fires the timer if one is due."""
        self.now_ns = now_ns
        due_ns = self.core.next_due_ns(self.state)
        if due_ns is None or due_ns > now_ns:
            return ()
        return self.step(TimerFired(ts_event_ns=now_ns))

    def recovered(self) -> ExecutionState:
        """The state by evolve alone, over what was recorded."""
        state = self.core.initial()
        for event in self.history:
            if isinstance(event, Input) or event.topic in self.core.outputs:
                state = self.core.evolve(state, event)
        return state

    def dumped(self) -> bytes:
        return self.core.dump(self.state)


def ready(rules: Rules | None = None, *, is_paced: bool = False, **venue_changes: Any) -> Driver:
    """A driver whose core knows account, instrument and venue, with risk alive."""
    context = replace(CONTEXT, is_paced=is_paced)
    driver = Driver(core=ExecutionCore(context, rules or Rules()))
    for record in (account(), instrument(), venue(**venue_changes)):
        driver.step(record)
    driver.beat()
    return driver


@dataclass(slots=True)
class OutsideDriver(Driver):
    """Steps a core whose venue is reached through an adapter; approvals are for its mode."""

    def step(self, record: Any, verdict: str = "", topic: str = "") -> Sequence[Output]:
        if isinstance(record, ApprovedOrder) and record.approval.mode is Mode.PAPER:
            mode = Mode(self.core.context.mode)
            record = replace(record, approval=replace(record.approval, mode=mode))
        return Driver.step(self, record, verdict, topic)


def outside(
    mode: Mode = Mode.LIVE, rules: Rules | None = None, *, is_paced: bool = False
) -> OutsideDriver:
    """A driver like `ready`, with a live account that is switched on at an external venue."""
    context = replace(CONTEXT, mode=mode.value, is_paced=is_paced)
    core = ExecutionCore(context, rules or Rules())
    driver = OutsideDriver(core=core)
    for record in (account(mode=mode), instrument(), venue(adapter="elsewhere"), live_switch()):
        driver.step(record)
    driver.beat()
    return driver


def live_switch(is_on: bool = True, sequence: int = 1, **changes: Any) -> SetLiveSwitch:
    plain = SetLiveSwitch(
        scope=ScopeKind.ACCOUNT,
        scope_id="a1",
        is_on=is_on,
        sequence=sequence,
        operator="op",
        reason="test",
        issued_ns=T0,
        run_id=RUN,
        key_id="op",
        signature=b"s",
    )
    return replace(plain, **changes)


def updates(outputs: Sequence[Output]) -> list[OrderUpdate]:
    return [one.record for one in outputs if isinstance(one.record, OrderUpdate)]


def statuses(outputs: Sequence[Output]) -> list[OrderStatus]:
    return [update.status for update in updates(outputs)]


def fills(outputs: Sequence[Output]) -> list[Fill]:
    return [one.record for one in outputs if isinstance(one.record, Fill)]


def reports(outputs: Sequence[Output]) -> list[VenueReport]:
    return [one.record for one in outputs if isinstance(one.record, VenueReport)]


def incidents(outputs: Sequence[Output]) -> list[Incident]:
    return [one.record for one in outputs if isinstance(one.record, Incident)]


def says(outputs: Sequence[Output]) -> list[str]:
    """A transcript in short: FILL 10 @ 100.11 taker, report ACCEPTED, o1 ACCEPTED."""
    lines = []
    for output in outputs:
        record = output.record
        match record:
            case Fill():
                side = record.liquidity_side.value.lower()
                lines.append(f"fill {record.quantity:f} @ {record.price:f} {side}")
            case VenueReport():
                lines.append(f"report {record.kind.value}")
            case OrderUpdate():
                command = f" {record.command.kind.value}" if record.command else ""
                end = " end" if record.is_terminal else ""
                code = f" {record.code}" if record.code else ""
                lines.append(f"{record.approval_id} {record.status.value}{command}{code}{end}")
            case Incident():
                lines.append(f"incident {record.code}")
            case CashAdjustment() | FundingPayment():
                lines.append(f"cash {record.amount:f} {record.currency}")
            case PositionCorrection():
                lines.append(
                    f"position {record.quantity:f} @ {record.price:f} for {record.group_id}"
                )
            case VenueDrift():
                state = "opened" if record.is_open else "settled"
                lines.append(f"drift {record.subject} {state}")
    return [_plain(line) for line in lines]


def _plain(line: str) -> str:
    return " ".join(_short(part) for part in line.split(" "))


def _short(part: str) -> str:
    is_decimal = "." in part and part.strip("-").replace(".", "").isdigit()
    return part.rstrip("0").rstrip(".") if is_decimal else part


def told(outputs: Sequence[Output]) -> list[str]:
    """A transcript of orders with a schedule: [role and number] status command quantity; the whole
    has no number."""
    lines = []
    for output in outputs:
        record = output.record
        if isinstance(record, Fill):
            name = "" if record.role is ChildRole.WHOLE else f"{record.role.value} "
            lines.append(f"{name}fill {record.quantity:f} @ {record.price:f}")
        elif isinstance(record, Incident):
            lines.append(f"incident {record.code}")
        elif isinstance(record, OrderUpdate):
            lines.append(_told(record))
    return [_plain(line) for line in lines]


def _told(update: OrderUpdate) -> str:
    is_part = update.role is not ChildRole.WHOLE
    parts = [f"{update.role.value}-{update.child_index}" if is_part else "whole"]
    if update.approval_id.startswith(("cancel", "amend")):
        parts = [update.approval_id.partition("-")[0]]
    parts.append(update.status.value)
    if update.command is not None:
        kind = "AMEND" if update.command.is_amendment else update.command.kind.value
        parts += [kind, f"{update.command.quantity:f}"]
    if update.notice is not ReportNotice.NONE:
        parts.append(update.notice.value)
    if update.code:
        parts.append(update.code)
    return " ".join([*parts, "end"] if update.is_terminal else parts)
