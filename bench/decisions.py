"""Risk on decisions, in process: the check alone, and all that an answer takes.

Every decision opens something, so that every guard is asked; every order is filled and corrected
away again between the measurements, so that the account stays as it is: ten positions, a hundred
orders open. Beside a mandate with every limit stands one with those alone that every mandate has.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from time import thread_time_ns
from typing import Any, Final

import numpy as np

from bench.records import ACCOUNT, GROUP, INSTRUMENTS, START_NS, configuration, mark
from bench.tables import Result, percentile, table
from tapeline.contracts import topics
from tapeline.contracts.accounts import PositionCorrection
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import (
    Instrument,
    Limits,
    Mandate,
    Sizing,
    SizingMethod,
    TradingGroup,
)
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import (
    ApprovedOrder,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.risk.core import RiskCore
from tapeline.risk.history import BARS_MAX
from tapeline.risk.state import RiskState
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.collector import spare_what_is_loaded
from tapeline.runtime.core import Context, Input, Output
from tapeline.runtime.keys import KeyRing
from tapeline.runtime.signing import seal

D = Decimal
SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
OPEN_ORDERS: Final = 100
EVERYTHING: Final = Limits(
    order_quantity_min=D("0.01"),
    order_quantity_max=D(1_000),
    order_notional_min=D(1),
    order_notional_max=D(1_000_000),
    position_weight_max=D("0.5"),
    sector_weight_max=D(2),
    correlation_max=D("0.9"),
    gross_exposure_max=D(3),
    net_exposure_max=D(3),
    leverage_max=D(3),
    cash_reserve_min=D(0),
    buying_power_max=D(3),
    capital_max=D(10**9),
    volume_share_max=D("0.5"),
    spread_max=D("0.01"),
    price_collar=D("0.05"),
    protective_distance_max=D("0.25"),
    confidence_min=D("0.1"),
    daily_loss_max=D("0.5"),
    loss_amount_max=D(10**9),
    drawdown_max=D("0.5"),
    decision_age_max_ns=MINUTE,
    mark_age_max_ns=MINUTE,
    instrument_cooldown_ns=0,
    group_cooldown_ns=0,
    trades_per_day_max=10**9,
    group_trades_per_day_max=10**9,
    open_orders_max=10**6,
    order_rate_max=10**6,
    group_order_rate_max=10**6,
    duplicate_window_ns=1,
    trades_in_hours=True,
)
SIZING: Final = Sizing(
    method=SizingMethod.KELLY, kelly_fraction=D("0.5"), payoff_ratio=D(2), weight_max=D("0.5")
)
SHARES: Final = (0.1, 0.5, 0.99)
"""The fastest tenth is hardly touched by what else the machine does."""
RING: Final = KeyRing.of(
    {"bench": hashlib.sha256(b"bench").digest()}, active="bench", revoked=frozenset()
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument("--decisions", type=int, help="decisions of each kind (20,000)")


def run(options: argparse.Namespace) -> Result:
    """Both mandates, in turns."""
    count = options.decisions or (4_000 if options.quick else 20_000)
    spare_what_is_loaded()
    found = {name: Timed() for name in ("every limit", "those of every mandate")}
    for number in range(4):
        for name, timed in found.items():
            measure(Desk(is_full=name == "every limit"), timed, count // 4, number)
    rows = [
        [
            name,
            f"{1e9 * len(timed.answers) / sum(timed.answers):,.0f}",
            *(f"{percentile(timed.checks, share) / 1e3:.0f}" for share in SHARES),
            *(f"{percentile(timed.answers, share) / 1e3:.0f}" for share in SHARES),
        ]
        for name, timed in found.items()
    ]
    head = ["", "decisions/s", "check p10 us", "p50", "p99", "answer p10 us", "p50", "p99"]
    title = f"Risk on decisions, in process: {count:,} entries of each, none denied"
    notes = [
        "  Processor time. check: decide(). answer: decode, verify, decide, evolve, seal, encode.",
        "  Goals: 3,000 decisions/s on one core, check p99 1,000 us.",
    ]
    print(table(title, head, rows, notes), flush=True)
    return {
        name: {
            "per_second": 1e9 * len(timed.answers) / sum(timed.answers),
            "check_p50_us": percentile(timed.checks, 0.5) / 1e3,
            "check_p99_us": percentile(timed.checks, 0.99) / 1e3,
            "answer_p99_us": percentile(timed.answers, 0.99) / 1e3,
        }
        for name, timed in found.items()
    }


class Timed:
    """Nanoseconds of each decision."""

    def __init__(self) -> None:
        self.checks: list[int] = []
        self.answers: list[int] = []


class Desk:
    """Risk with an account that holds and has on order what a busy one has."""

    def __init__(self, *, is_full: bool) -> None:
        self.now_ns = START_NS
        self.core = RiskCore(Context(run_id="bench", service="risk", shard=0, mode="PAPER"))
        self.state: RiskState = self.core.initial()
        for record in configuration():
            self.take(topics.CONFIG, self._full(record) if is_full else record)
        for bar in bars(self.now_ns):
            self.take(topics.BARS, bar)
        for name in INSTRUMENTS:
            self.take(topics.MARKS, mark(name, self.now_ns))
            self.take(topics.ACCOUNT_EVENTS, correction(name, D(50)))
        for number in range(OPEN_ORDERS):
            (said,) = self.answer(entry(number, self.now_ns, index=-1_000 + number))
            assert isinstance(said.record, ApprovedOrder), said.record

    @staticmethod
    def _full(record: Any) -> Any:
        match record:
            case Mandate():
                return replace(
                    record, limits=EVERYTHING, venues=("SIM",), sides=(Side.BUY, Side.SELL)
                )
            case Instrument():
                return replace(record, limits=EVERYTHING, history_interval_ns=MINUTE)
            case TradingGroup():
                return replace(record, limits=EVERYTHING, sizing=SIZING)
        return record

    def take(self, topic: str, record: Any) -> None:
        """Evolves over an input that is not a decision."""
        self.state = self.core.evolve(self.state, self.event(topic, record))

    def event(self, topic: str, record: Any) -> Input:
        """An input now."""
        event_id = getattr(record, "decision_id", "")
        return Input(record=record, topic=topic, event_id=event_id, session_ns=self.now_ns)

    def answer(self, asked: Decision) -> Sequence[Output]:
        """Decides and evolves."""
        event = self.event(topics.DECISIONS, asked)
        said = self.core.decide(self.state, event)
        self.state = self.core.evolve(self.state, event)
        for output in said:
            self.state = self.core.evolve(self.state, output)
        return said


def measure(desk: Desk, timed: Timed, count: int, leg: int) -> None:
    """Times `count` entries; each is ended and its position left as it was in between."""
    decoder = Decoder((Decision.AVRO,))
    decoder.decode(encode(entry(0, 0)))
    for number in range(count):
        desk.now_ns += SECOND // 4_000
        data = encode(entry(number, desk.now_ns, index=leg))
        begun = thread_time_ns()
        asked = decoder.decode(data)
        hmac.digest(b"author", data, hashlib.sha256)
        event = desk.event(topics.DECISIONS, asked)
        before = thread_time_ns()
        said = desk.core.decide(desk.state, event)
        timed.checks.append(thread_time_ns() - before)
        desk.state = desk.core.evolve(desk.state, event)
        for output in said:
            encode(seal(output.record, RING))
            desk.state = desk.core.evolve(desk.state, output)
        timed.answers.append(thread_time_ns() - begun)
        assert isinstance(said[0].record, ApprovedOrder), said[0].record
        desk.take(topics.ORDER_UPDATES, ended(said[0].record))
        if number % 1_000 == 0:
            for name in INSTRUMENTS:
                desk.take(topics.MARKS, mark(name, desk.now_ns))


def entry(number: int, ts_ns: int, index: int = 0) -> Decision:
    """A limit order, one instrument after the other."""
    return Decision(
        decision_id=f"{index}-{ts_ns}-{number}",
        account_id=ACCOUNT,
        group_id=GROUP,
        cycle_ns=ts_ns,
        index=index,
        kind=DecisionKind.ORDER,
        instrument_id=INSTRUMENTS[number % len(INSTRUMENTS)],
        side=Side.BUY,
        quantity=D(1) + D(number % 1_000) / 1_000,
        order_type=OrderType.LIMIT,
        limit_price=D("100.5"),
        time_in_force=TimeInForce.DAY,
        is_reduce_only=False,
        is_post_only=False,
        confidence=0.8,
        reference_price=100.5,
        model="",
        is_offline_model=False,
        reason="bench",
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def bars(end_ns: int) -> Iterator[Bar]:
    """A window of each instrument's own walk."""
    for name in INSTRUMENTS:
        chance, close = np.random.default_rng(INSTRUMENTS.index(name)), 100.0
        for number in range(BARS_MAX):
            close *= 1.0 + float(chance.normal(0.0, 0.001))
            ts_ns = end_ns - (BARS_MAX - 1 - number) * MINUTE
            yield Bar(
                instrument_id=name,
                feed="bench",
                interval_ns=MINUTE,
                ts_open_ns=ts_ns - MINUTE,
                open=close,
                high=close,
                low=close,
                close=close,
                volume=10_000.0,
                tick_count=1,
                late_count=0,
                is_complete=True,
                origin=TickOrigin.SYNTHETIC,
                ts_event_ns=ts_ns,
                ts_init_ns=ts_ns,
            )


def correction(name: str, quantity: Decimal) -> PositionCorrection:
    """A position that is just there."""
    return PositionCorrection(
        correction_id="bench",
        account_id=ACCOUNT,
        group_id=GROUP,
        instrument_id=name,
        quantity=quantity,
        price=D(100),
        reason="bench",
        ts_event_ns=START_NS,
        ts_init_ns=START_NS,
    )


def ended(approved: ApprovedOrder) -> OrderUpdate:
    """The end of an order, so that its reservation is free again."""
    order, approval = approved.order, approved.approval
    return OrderUpdate(
        client_order_id=order.client_order_id,
        venue_order_id="",
        account_id=order.account_id,
        group_id=order.group_id,
        instrument_id=order.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        status=OrderStatus.CANCELED,
        previous_status=OrderStatus.ACCEPTED,
        is_terminal=True,
        code="",
        reason="",
        quantity=order.quantity,
        filled_quantity=D(0),
        average_price=None,
        command=None,
        ts_event_ns=START_NS,
        ts_init_ns=START_NS,
    )
