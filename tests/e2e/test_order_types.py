"""Every order type through the real processes, on real Kafka: asked for by hand, signed by risk,
worked by execution to its end; and a replay that decides all of it again, byte for byte.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from proving.oracle import JUDGED, of
from proving.playing import PRESET, Finished, Ground, Progress, play, replayed, short_source
from proving.reading import Seen, committed

from tapeline.accounting.numbers import price_from_float, round_to_tick
from tapeline.cli.commands.act import manual_decision
from tapeline.cli.desk import Desk
from tapeline.cli.sending import Sender
from tapeline.cli.session import Session
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    Fill,
    OrderStatus,
    OrderType,
    OrderUpdate,
    ReportNotice,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import Denial

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
ACCOUNT, SHARD, INSTRUMENT = "PAPER-1", 0, "SP500.US"
LEGS = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)
DAY_NS = 86_400_000_000_000
FIRST_SLICE = 15
"""there are marks by then"""
TYPES = '["STOP_MARKET", "STOP_LIMIT", "TWAP", "VWAP", "ICEBERG", "BRACKET"]'
LIMITS = {
    # The data runs on while an order is asked for by hand: days pass in a moment.
    'decision_age_max_ns = "1d"': 'decision_age_max_ns = "1000d"',
    'mark_age_max_ns = "1d"': f'mark_age_max_ns = "5d"\norder_types = {TYPES}',
    'price_collar = "0.05"': 'price_collar = "0.5"',
    'protective_distance_max = "0.25"': 'protective_distance_max = "0.5"',
    'position_weight_max = "0.05"': 'position_weight_max = "0.5"',
    'daily_loss_max = "0.02"': 'daily_loss_max = "0.5"',
}


@dataclass
class Operator:
    """Asks for one order of each type, then amends one and cancels another."""

    asked: dict[str, Decision] = field(default_factory=dict)

    def __call__(self, session: Session, progress: Progress) -> bool:
        if progress.slice < FIRST_SLICE:
            return False
        place = desk_of(session)
        if not self.asked:
            marks = [
                item.record
                for item in place.records.all(topics.MARKS, MarkPrice)
                if item.record.instrument_id == INSTRUMENT
            ]
            self._send(place, orders_at(place.run.run_id, marks[-1]))
            return False
        if "amendment" not in self.asked:
            approved = approvals(place)
            wanted = [self.asked[name].decision_id for name in ("amended", "canceled")]
            if any(name not in approved for name in wanted):
                return False
            self._send(place, self._changes(place, [approved[name] for name in wanted]))
        return True

    def _changes(self, place: Desk, found: list[ApprovedOrder]) -> dict[str, Decision]:
        amended, canceled = (one.order for one in found)
        assert amended.limit_price is not None
        base = self.asked["amended"]
        return {
            "amendment": decision(
                place.run.run_id,
                base,
                900,
                kind=DecisionKind.AMEND,
                client_order_id=amended.client_order_id,
                limit_price=amended.limit_price * 2,
            ),
            "cancellation": decision(
                place.run.run_id,
                base,
                901,
                kind=DecisionKind.CANCEL,
                client_order_id=canceled.client_order_id,
            ),
        }

    def _send(self, place: Desk, decisions: dict[str, Decision]) -> None:
        sender = Sender(place.config, place.run)
        for one in decisions.values():
            sender.send(topics.DECISIONS, SHARD, ACCOUNT, one, one.decision_id)
        sender.finish()
        self.asked.update(decisions)


def desk_of(session: Session) -> Desk:
    assert session.stack.endpoints is not None
    return Desk(session.run, session.stack.endpoints, session.folder, session.folder, True)


def approvals(place: Desk) -> dict[str, ApprovedOrder]:
    """By decision."""
    found = place.records.all(topics.APPROVED_ORDERS, ApprovedOrder)
    return {item.record.approval.decision_id: item.record for item in found}


def decision(run_id: str, base: Decision | None, number: int, **changes: Any) -> Decision:
    """A decision of the operator's in session time: `number` keeps them ascending."""
    plain = manual_decision(run_id, ACCOUNT, kind=DecisionKind.ORDER)
    plain = replace(plain, decision_id=f"{plain.decision_id}-{number}")
    if base is not None:
        times = {"ts_event_ns": base.ts_event_ns, "ts_init_ns": base.ts_init_ns}
        plain = replace(plain, cycle_ns=base.cycle_ns + number, **times)
    return replace(plain, **changes)


def orders_at(run_id: str, mark: MarkPrice) -> dict[str, Decision]:
    """One order of each type near a mark. What must fill does so as the market moves on: it falls
    by some per cent in January and is well above in June."""
    price, now_ns = price_from_float(mark.price), mark.ts_event_ns

    def at(factor: str) -> Decimal:
        return round_to_tick(price * Decimal(factor), Decimal("0.01")).normalize()

    types: dict[str, dict[str, Any]] = {
        "market": {},
        "limit": {"order_type": OrderType.LIMIT, "limit_price": at("1.05")},
        "stop market": {"order_type": OrderType.STOP_MARKET, "stop_price": at("1.03")},
        "stop limit": {
            "order_type": OrderType.STOP_LIMIT,
            "stop_price": at("1.03"),
            "limit_price": at("1.06"),
        },
        "twap": {
            "algorithm": Algorithm.TWAP,
            "duration_ns": 24 * DAY_NS,
            "slice_count": 4,
        },
        "vwap": {
            "algorithm": Algorithm.VWAP,
            "duration_ns": 18 * DAY_NS,
            "volume_profile": (Decimal(3), Decimal(1), Decimal(2)),
        },
        "iceberg": {
            "algorithm": Algorithm.ICEBERG,
            "order_type": OrderType.LIMIT,
            "limit_price": at("1.05"),
            "visible_quantity": Decimal("0.2"),
            "duration_ns": 30 * DAY_NS,
        },
        "bracket": {"take_profit_price": at("1.04"), "stop_loss_price": at("0.9")},
        "amended": {"order_type": OrderType.LIMIT, "limit_price": at("0.6")},
        "canceled": {"order_type": OrderType.LIMIT, "limit_price": at("0.6")},
    }
    return {
        name: replace(
            decision(run_id, None, number),
            kind=DecisionKind.ORDER,
            instrument_id=INSTRUMENT,
            side=Side.BUY,
            quantity=Decimal("0.5"),
            time_in_force=TimeInForce.GTC,
            cycle_ns=now_ns + number,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
            **terms,
        )
        for number, (name, terms) in enumerate(types.items())
    }


@dataclass(frozen=True)
class Told:
    """What the run says about the operator's orders."""

    run: Finished
    asked: dict[str, Decision]
    seen: dict[str, list[Seen]]

    def updates(self, name: str) -> list[OrderUpdate]:
        wanted = self.asked[name].decision_id
        found = of(self.seen[topics.ORDER_UPDATES], OrderUpdate)
        return [item.record for item in found if item.record.decision_id == wanted]

    def fills(self, name: str) -> list[Fill]:
        wanted = self.asked[name].decision_id
        found = of(self.seen[topics.FILLS], Fill)
        return [item.record for item in found if item.record.decision_id == wanted]


@pytest.fixture(scope="module")
def told(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The short run with wide limits, its groups silent, and the operator's orders in it."""
    text = PRESET.read_text()
    for before, after in LIMITS.items():
        assert before in text
        text = text.replace(before, after)
    head, _, groups = text.partition("[[group]]")
    groups = groups.replace("is_enabled = true", "is_enabled = false")
    preset = tmp_path_factory.mktemp("preset") / "types.toml"
    preset.write_text(f"{head}[[group]]{groups}")
    operator = Operator()
    source = replace(short_source(), stem="types", preset=Path(preset))
    run = replayed(play(ground, "types", source=source, meanwhile=operator))
    return Told(run, operator.asked, asyncio.run(committed(run.settings, JUDGED)))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("market", OrderStatus.FILLED),
        ("limit", OrderStatus.FILLED),
        ("stop market", OrderStatus.FILLED),
        ("stop limit", OrderStatus.FILLED),
        ("twap", OrderStatus.FILLED),
        ("vwap", OrderStatus.FILLED),
        ("iceberg", OrderStatus.FILLED),
        ("bracket", OrderStatus.FILLED),
        ("amended", OrderStatus.FILLED),
        ("canceled", OrderStatus.CANCELED),
    ],
)
def test_each_type_reaches_its_end(told: Told, name: str, status: OrderStatus) -> None:
    ends = [update for update in told.updates(name) if update.is_terminal]
    assert [end.status for end in ends] == [status], told.updates(name) or denials(told)
    own = (fill for fill in told.fills(name) if fill.role not in LEGS)
    filled = sum((fill.quantity for fill in own), Decimal(0))
    assert filled == (Decimal("0.5") if status is OrderStatus.FILLED else 0)


def denials(told: Told) -> list[str]:
    found = of(told.seen[topics.RISK_EVENTS], Denial)
    wanted = {one.decision_id for one in told.asked.values()}
    return [item.record.reason for item in found if item.record.decision_id in wanted]


def test_slices_and_legs_are_children_of_their_order(told: Told) -> None:
    sent = {
        name: [(one.role, one.child_index) for one in told.updates(name) if one.command]
        for name in ("twap", "vwap", "iceberg")
    }
    assert sent["twap"] == [(ChildRole.SLICE, number) for number in range(4)]
    assert sent["vwap"] == [(ChildRole.SLICE, number) for number in range(3)]
    assert sent["iceberg"] == [(ChildRole.SLICE, number) for number in range(3)]
    roles = {fill.role for fill in told.fills("bracket")}
    assert ChildRole.WHOLE in roles
    assert roles & set(LEGS)
    bought, sold = (
        sum((fill.quantity for fill in told.fills("bracket") if fill.side is side), Decimal(0))
        for side in (Side.BUY, Side.SELL)
    )
    assert bought == sold


def test_stops_fill_behind_their_stop_and_fills_know_their_slippage(told: Told) -> None:
    for name in ("stop market", "stop limit"):
        stop = told.asked[name].stop_price
        assert stop is not None
        assert all(fill.price >= stop for fill in told.fills(name))
    for name in told.asked:
        for fill in told.fills(name):
            sign = 1 if fill.side is Side.BUY else -1
            assert fill.slippage == (fill.price - fill.arrival_price) * sign


def test_the_amendment_and_the_cancel_are_answered(told: Told) -> None:
    (amended,) = [one for one in told.updates("amendment") if one.is_terminal]
    assert amended.notice is ReportNotice.AMENDED
    (canceled,) = [one for one in told.updates("cancellation") if one.is_terminal]
    assert canceled.status is OrderStatus.CANCELED


def test_a_replay_decides_all_of_it_again(told: Told) -> None:
    assert told.run.replay is not None
    assert told.run.replay.differences == ()
    assert told.run.replay.is_equal
