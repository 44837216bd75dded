"""Two decisions of one cycle, from ticks to a fill and to a denial, as records of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from audit_samples import decision, message, trade, watermark

from tapeline.audit.chain import Record
from tapeline.contracts.agents import (
    AgentMessage,
    CallStatus,
    Direction,
    LlmCall,
    MessageType,
    Signal,
)
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import (
    Approval,
    ApprovedOrder,
    Fill,
    LiquiditySide,
    Mode,
    Order,
    OrderAction,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.runtime.ids import content_id

CYCLE_NS = 2_000
BAR = Bar(
    instrument_id="SPY.ARCA",
    feed="recorded",
    interval_ns=100,
    ts_open_ns=100,
    open=200.0,
    high=206.0,
    low=200.0,
    close=203.0,
    volume=100.0,
    tick_count=100,
    late_count=0,
    is_complete=True,
    origin=TickOrigin.EXCHANGE,
    ts_event_ns=199,
    ts_init_ns=200,
)
BAR_ID = content_id(BAR.content_key())


class Shelf:
    """Bulk records by position, in memory."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def read(self, topic: str, partition: int, start: int, behind: int) -> list[Record]:
        """As BulkReader says."""
        return [
            record
            for record in self.records
            if record.place == (topic, partition) and start <= record.offset < behind
        ]

    def offset_at(self, topic: str, partition: int, append_ms: int) -> int:
        """As BulkReader says."""
        place = [record for record in self.records if record.place == (topic, partition)]
        later = [record.offset for record in place if record.append_ms >= append_ms]
        return later[0] if later else place[-1].offset + 1


def bulk_records(tick_count: int = 300) -> list[Record]:
    """A hundred ticks of the bar among others, and the bar behind them."""
    ticks = [message("ticks", 1, offset, trade(offset)) for offset in range(tick_count)]
    bars = [message("bars", 1, 0, watermark(False)), message("bars", 1, 1, BAR)]
    # All ticks were appended before the bar, as it goes when the feed runs ahead.
    return ticks + [replace(bar, append_ms=bar.append_ms + tick_count) for bar in bars]


def signal(signal_id: str) -> Signal:
    """An opinion on the bar."""
    return Signal(
        signal_id=signal_id,
        trigger="sma_cross",
        universe="main",
        instrument_id="SPY.ARCA",
        direction=Direction.LONG,
        confidence=0.8,
        expected_return=0.01,
        liquidity=1.0,
        horizon_ns=1_000,
        price=203.0,
        reason="fast crossed slow",
        features={"fast": 202.0},
        ts_event_ns=200,
        ts_init_ns=200,
    )


def order() -> Order:
    """What risk made of the first decision."""
    return Order(
        client_order_id="order-1",
        account_id="PAPER-1",
        group_id="momentum",
        instrument_id="SPY.ARCA",
        venue="PAPER",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal(10),
        time_in_force=TimeInForce.DAY,
        is_reduce_only=False,
        is_post_only=False,
        arrival_price=Decimal(203),
    )


def approved() -> ApprovedOrder:
    """Risk's approval."""
    approval = Approval(
        approval_id="approval-1",
        decision_id="decision-1",
        run_id="run-1",
        mode=Mode.PAPER,
        account_id="PAPER-1",
        key_id="seal-1",
        issued_ns=CYCLE_NS,
        expires_ns=CYCLE_NS + 5,
        last_send_ns=CYCLE_NS + 5,
        child_count=1,
        mac=b"\1" * 32,
    )
    return ApprovedOrder(
        action=OrderAction.OPEN,
        order=order(),
        approval=approval,
        ts_event_ns=CYCLE_NS,
        ts_init_ns=CYCLE_NS,
    )


def update(status: OrderStatus, previous: OrderStatus, filled: str) -> OrderUpdate:
    """A step of the order."""
    return OrderUpdate(
        client_order_id="order-1",
        venue_order_id="",
        account_id="PAPER-1",
        group_id="momentum",
        instrument_id="SPY.ARCA",
        approval_id="approval-1",
        decision_id="decision-1",
        status=status,
        previous_status=previous,
        is_terminal=status is OrderStatus.FILLED,
        code="",
        reason="",
        quantity=Decimal(10),
        filled_quantity=Decimal(filled),
        ts_event_ns=CYCLE_NS + 1,
        ts_init_ns=CYCLE_NS + 1,
    )


def fill() -> Fill:
    """The order's execution."""
    return Fill(
        fill_id="fill-1",
        trade_id="t-1",
        client_order_id="order-1",
        venue_order_id="v-1",
        account_id="PAPER-1",
        group_id="momentum",
        instrument_id="SPY.ARCA",
        approval_id="approval-1",
        decision_id="decision-1",
        venue="PAPER",
        side=Side.BUY,
        quantity=Decimal(10),
        price=Decimal("203.05"),
        commission=Decimal("0.25"),
        currency="USD",
        liquidity_side=LiquiditySide.TAKER,
        arrival_price=Decimal(203),
        leaves_quantity=Decimal(0),
        ts_event_ns=CYCLE_NS + 2,
        ts_init_ns=CYCLE_NS + 2,
    )


def denial() -> Denial:
    """Risk's no to the second decision, and to the third with it."""
    return Denial(
        decision_id="decision-2",
        account_id="PAPER-1",
        group_id="momentum",
        instrument_id="XAU.OTC",
        code=DenialCode.POSITION_LIMIT,
        measured=Decimal("0.062"),
        limit=Decimal("0.05"),
        reason="The position would be 6.2 % of NAV; the limit is 5 %.",
        also_decision_ids=("decision-3",),
        ts_event_ns=CYCLE_NS,
        ts_init_ns=CYCLE_NS,
    )


def spoken() -> list[Record]:
    """A call and a message of the cycle, and a call of another."""
    call = LlmCall(
        call_id="call-1",
        group_id="momentum",
        cycle_ns=CYCLE_NS,
        node="analyst",
        attempt=0,
        request_digest="00",
        model="offline",
        is_offline_model=True,
        request="{}",
        response="HOLD",
        status=CallStatus.OK,
        error="",
        latency_ns=1,
        prompt_tokens=1,
        completion_tokens=1,
        ts_event_ns=CYCLE_NS,
        ts_init_ns=CYCLE_NS,
    )
    said = AgentMessage(
        message_id="message-1",
        group_id="momentum",
        cycle_ns=CYCLE_NS,
        sender="analyst",
        recipient="manager",
        type=MessageType.RESULT,
        content="Long.",
        is_offline_model=True,
        ts_event_ns=CYCLE_NS,
        ts_init_ns=CYCLE_NS,
    )
    return [
        message("llm-calls", 0, 0, call, "call-1"),
        message("discussions", 0, 0, said, "message-1"),
    ]


def story() -> list[Record]:
    """All records outside the bulk topics."""
    first = decision(1, cycle_ns=CYCLE_NS)
    second = decision(2, cycle_ns=CYCLE_NS, index=1, instrument_id="XAU.OTC")
    fourth = decision(4, cycle_ns=CYCLE_NS + 1)
    submitted = update(OrderStatus.SUBMITTED, OrderStatus.APPROVED, "0")
    filled = update(OrderStatus.FILLED, OrderStatus.SUBMITTED, "10")
    return [
        message("signals", 0, 0, signal("signal-1"), "signal-1", f"{BAR_ID}@bars/1/1"),
        *spoken(),
        message("decisions", 0, 0, first, "decision-1", "signal-1"),
        message("decisions", 0, 1, second, "decision-2", "signal-1"),
        message("decisions", 0, 2, fourth, "decision-4", "signal-9"),
        message("approved-orders", 0, 0, approved(), "approval-1", "decision-1"),
        message("risk-events", 0, 0, denial(), "denial-1", "decision-2"),
        message("order-updates", 0, 0, submitted, "update-1", "approval-1"),
        message("order-updates", 0, 1, filled, "update-2", "report-1"),
        message("fills", 0, 0, fill(), "fill-1", "report-1"),
    ]
