"""Every order type through the real processes, on real Kafka: asked for by hand, signed by risk,
worked by execution to its end, while execution is killed with children half sent; and a replay that
decides all of it again, byte for byte.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from proving.books import at_risk, at_the_venue, folded, in_postgres, last_states
from proving.disturbing import DisturbedSession
from proving.oracle import JUDGED, counted, examine, of, sends_of
from proving.playing import (
    PRESET,
    Finished,
    Ground,
    MakeSession,
    Progress,
    play,
    replayed,
    short_source,
)
from proving.reading import Seen, committed

from tapeline.accounting.numbers import price_from_float, round_to_tick
from tapeline.cli.commands.act import manual_decision
from tapeline.cli.configuration import load_configuration
from tapeline.cli.follower import Follower
from tapeline.cli.plan import Part
from tapeline.cli.records import Found
from tapeline.cli.sending import Sender
from tapeline.cli.session import Session
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Account
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    Fill,
    Order,
    OrderAction,
    OrderStatus,
    OrderType,
    OrderUpdate,
    ReportNotice,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import Denial
from tapeline.risk.answers import cause_of
from tapeline.runtime.failpoints import ENVIRONMENT
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import confluent_config

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
ACCOUNT, SHARD, INSTRUMENT = "PAPER-1", 0, "SP500.US"
LEGS = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)
DAY_NS = 86_400_000_000_000
END = "2014-03-31"
ASKED_NS = 1_388_620_800 * 10**9 + DAY_NS - 1
"""the end of 2014-01-02: behind the marks of the first slice, in which all of it is decided"""
PRICE = Decimal(1832)
"""of the S&P 500 on that day"""
QUANTITY = Decimal(12)
"""more than a tick fills: the paper venue takes a share of what was traded"""
DEADLY = {ENVIRONMENT: "after_commit:kill:30"}
"""A commit is about a slice: in the middle between the second slice of the TWAP and the fourth."""
CHILDREN = {"twap": 4, "vwap": 3, "iceberg": 3}
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
Tell = Callable[[str], None]


@dataclass
class Operator:
    """Asks for one order of each type; amends one and cancels another when they stand in the book.
    Execution dies behind a commit when some slices of the TWAP have left and others have not."""

    asked: dict[str, Decision] = field(default_factory=dict)
    updates: list[OrderUpdate] = field(default_factory=list)
    """what is committed so far"""
    restarted_ms: int = 0
    """when execution was started again, ms since 1970"""
    ended: list[int] = field(default_factory=list)
    """how execution ended, in order"""
    _follower: Follower | None = None

    def ask(self, session: Session) -> None:
        """Puts the orders into the topic; what is there before the first slice is decided with it,
        however fast the days pass then."""
        self._follow(session)
        self._send(session, orders_for(session.run.run_id))

    def __call__(self, session: Session, _progress: Progress) -> bool:
        """Called while the run plays; True when everything is asked and done."""
        assert isinstance(session, DisturbedSession)
        stand = self._stands("amended") and self._stands("canceled")
        if stand and "amendment" not in self.asked:
            self._send(session, changes_of(session.run.run_id, self.asked))
        for code in session.ended.pop("execution", []):
            self.ended.append(code)
            self.restarted_ms = time.time_ns() // 1_000_000
            session.left_alone.discard("execution")
            part = session.parts["execution"]
            # Nothing kills it a second time.
            kept = {name: part.environment[name] for name in part.environment if name not in DEADLY}
            Session.start_part(session, replace(part, environment=kept))
        is_done = bool("amendment" in self.asked and self.ended)
        if is_done and self._follower is not None:
            self._follower.stop()
            self._follower = None
        return is_done

    def _follow(self, session: Session) -> None:
        assert session.stack.endpoints is not None
        config = confluent_config(session.kafka_settings(session.stack.endpoints))
        self._follower = Follower(
            config, session.run.prefix, self._take, names=(topics.ORDER_UPDATES,)
        )
        self._follower.start()

    def _take(self, found: Found) -> None:
        if isinstance(found.record, OrderUpdate):
            self.updates.append(found.record)

    def _of(self, name: str) -> list[OrderUpdate]:
        return [one for one in self.updates if one.decision_id == self.asked[name].decision_id]

    def _stands(self, name: str) -> bool:
        return any(update.status is OrderStatus.ACCEPTED for update in self._of(name))

    def _send(self, session: Session, decisions: dict[str, Decision]) -> None:
        assert session.stack.endpoints is not None
        settings = session.kafka_settings(session.stack.endpoints)
        sender = Sender(confluent_config(settings), session.run)
        for one in decisions.values():
            sender.send(topics.DECISIONS, SHARD, ACCOUNT, one, one.decision_id)
        sender.finish()
        self.asked.update(decisions)


def asking_first(operator: Operator) -> MakeSession:
    """Makes a session in which the operator asks when all but the feed has been started, and whose
    first execution dies behind a commit, however fast the days pass."""

    class AskedFirst(DisturbedSession):
        def start_part(self, part: Part) -> None:
            if part.name == "feed":
                operator.ask(self)
            if part.name == "execution":
                self.left_alone.add(part.name)
                part = replace(part, environment={**part.environment, **DEADLY})
            super().start_part(part)

    return AskedFirst


def order_id(run_id: str, of: Decision) -> str:
    """The id that risk derives for the order of a decision."""
    return derive_id(run_id, f"risk/{SHARD}", cause_of(of), Order.AVRO)


def decision(run_id: str, number: int, **changes: Any) -> Decision:
    """A decision of the operator's in session time; `number` keeps them ascending."""
    plain = manual_decision(run_id, ACCOUNT, kind=DecisionKind.ORDER)
    return replace(
        plain,
        decision_id=f"{plain.decision_id}-{number}",
        cycle_ns=ASKED_NS + number,
        ts_event_ns=ASKED_NS,
        ts_init_ns=ASKED_NS,
        **changes,
    )


def orders_for(run_id: str) -> dict[str, Decision]:
    """One order of each type near the price of the first days. The market falls by some per cent in
    January and is above where it was in March, so that what must fill does."""

    def at(factor: str) -> Decimal:
        return round_to_tick(PRICE * Decimal(factor), Decimal("0.01")).normalize()

    types: dict[str, dict[str, Any]] = {
        "market": {},
        "limit": {"order_type": OrderType.LIMIT, "limit_price": at("1.05")},
        "stop market": {"order_type": OrderType.STOP_MARKET, "stop_price": at("1.015")},
        "stop limit": {
            "order_type": OrderType.STOP_LIMIT,
            "stop_price": at("1.015"),
            "limit_price": at("1.05"),
        },
        "twap": {
            "algorithm": Algorithm.TWAP,
            "duration_ns": 48 * DAY_NS,
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
            "visible_quantity": Decimal(5),
            "duration_ns": 30 * DAY_NS,
        },
        "bracket": {"take_profit_price": at("1.015"), "stop_loss_price": at("0.8")},
        "amended": {"order_type": OrderType.LIMIT, "limit_price": at("0.6")},
        "canceled": {"order_type": OrderType.LIMIT, "limit_price": at("0.6")},
    }
    return {
        name: replace(
            decision(run_id, number),
            instrument_id=INSTRUMENT,
            side=Side.BUY,
            quantity=QUANTITY,
            time_in_force=TimeInForce.GTC,
            **terms,
        )
        for number, (name, terms) in enumerate(types.items())
    }


def changes_of(run_id: str, asked: dict[str, Decision]) -> dict[str, Decision]:
    """What the operator wants of two orders that stand in the book."""
    amended, canceled = asked["amended"], asked["canceled"]
    assert amended.limit_price is not None
    return {
        "amendment": decision(
            run_id,
            900,
            kind=DecisionKind.AMEND,
            client_order_id=order_id(run_id, amended),
            limit_price=amended.limit_price * 2,
        ),
        "cancellation": decision(
            run_id,
            901,
            kind=DecisionKind.CANCEL,
            client_order_id=order_id(run_id, canceled),
        ),
    }


@dataclass(frozen=True)
class Told:
    """What the run says about the operator's orders."""

    run: Finished
    operator: Operator
    seen: dict[str, list[Seen]]

    @property
    def asked(self) -> dict[str, Decision]:
        """Decisions by name."""
        return self.operator.asked

    def updates(self, name: str) -> list[OrderUpdate]:
        """Those that answer the approval of a decision."""
        wanted = self.asked[name].decision_id
        found = of(self.seen[topics.ORDER_UPDATES], OrderUpdate)
        return [item.record for item in found if item.record.decision_id == wanted]

    def fills(self, name: str) -> list[Fill]:
        """Those under the approval of a decision, legs among them."""
        wanted = self.asked[name].decision_id
        found = of(self.seen[topics.FILLS], Fill)
        return [item.record for item in found if item.record.decision_id == wanted]

    def sent_before(self) -> tuple[int, ...]:
        """Child indexes of the TWAP that left before execution was started again."""
        found = of(self.seen[topics.ORDER_UPDATES], OrderUpdate)
        early = [item.record for item in found if item.append_ms < self.operator.restarted_ms]
        wanted = self.asked["twap"].decision_id
        own = (update for update in early if update.decision_id == wanted)
        return tuple(command.child_index for _, command in sends_of(own))

    def approved(self, name: str) -> ApprovedOrder:
        """Risk's approval of a decision."""
        wanted = self.asked[name].decision_id
        found = of(self.seen[topics.APPROVED_ORDERS], ApprovedOrder)
        own = [item.record for item in found if item.record.approval.decision_id == wanted]
        assert len(own) == 1, f"{name} was not approved: {self.denials()}"
        approved: ApprovedOrder = own[0]
        return approved

    def denials(self) -> list[str]:
        """Why risk said no to something that was asked."""
        found = of(self.seen[topics.RISK_EVENTS], Denial)
        wanted = {one.decision_id for one in self.asked.values()}
        return [
            f"{item.record.code}: {item.record.reason}"
            for item in found
            if item.record.decision_id in wanted
        ]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short run with wide limits and without groups: only the operator trades."""
    text = PRESET.read_text()
    for before, after in LIMITS.items():
        assert before in text
        text = text.replace(before, after)
    head, _, groups = text.partition("[[group]]")
    groups = groups.replace("is_enabled = true", "is_enabled = false")
    path = tmp_path_factory.mktemp("preset") / "types.toml"
    path.write_text(f"{head}[[group]]{groups}")
    return path


@pytest.fixture(scope="module")
def told(ground: Ground, preset: Path) -> Told:
    """The run with the operator in it, and its replay."""
    operator = Operator()
    source = replace(short_source(END), stem="types", preset=preset)
    run = replayed(
        play(
            ground, "types", source=source, make_session=asking_first(operator), meanwhile=operator
        )
    )
    wanted = (*JUDGED, topics.MARKS)
    return Told(run, operator, asyncio.run(committed(run.settings, wanted)))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((name, OrderStatus.FILLED) for name in ("market", "limit", "stop market", "stop limit")),
        *((name, OrderStatus.FILLED) for name in (*CHILDREN, "bracket", "amended")),
        ("canceled", OrderStatus.CANCELED),
    ],
)
def test_each_type_reaches_its_end(told: Told, name: str, status: OrderStatus) -> None:
    approved = told.approved(name)
    assert approved.order.quantity == QUANTITY
    ends = [update for update in told.updates(name) if update.is_terminal]
    assert [end.status for end in ends] == [status]
    own = (fill.quantity for fill in told.fills(name) if fill.role not in LEGS)
    assert sum(own, Decimal(0)) == (QUANTITY if status is OrderStatus.FILLED else 0)


def test_nothing_is_lost_doubled_or_beyond_its_approval_and_all_books_agree(
    told: Told, preset: Path, tell: Tell
) -> None:
    states = last_states(told.run)
    damage = examine(told.seen, states.held_open)
    assert damage.is_none, str(damage)
    accounts = load_configuration(preset).of(Account)
    expected = folded((item.record for item in of(told.seen[topics.FILLS], Fill)), accounts)
    assert in_postgres(told.run, accounts) == expected
    assert at_the_venue(states) == expected
    assert at_risk(states) == expected
    tell(
        f"order types: {counted(told.seen)}: {damage}; execution killed behind slices "
        f"{told.sent_before()} of the TWAP; {told.run.seconds:.0f} s"
    )


@pytest.mark.parametrize("name", list(CHILDREN))
def test_slices_are_sent_once_each_and_add_up_to_what_was_approved(told: Told, name: str) -> None:
    sends = [command for _, command in sends_of(told.updates(name))]
    assert [command.child_index for command in sends] == list(range(CHILDREN[name]))
    assert {told_of.role for told_of, _ in sends_of(told.updates(name))} == {ChildRole.SLICE}
    total = sum((command.quantity for command in sends), Decimal(0))
    assert total == told.approved(name).order.quantity


def test_children_outlive_the_process_that_sent_the_first_of_them(told: Told) -> None:
    before = told.sent_before()
    assert told.operator.ended == [-signal.SIGKILL]
    assert 2 <= len(before) < CHILDREN["twap"]
    sends = [command.child_index for _, command in sends_of(told.updates("twap"))]
    assert sends[: len(before)] == list(before)


def test_legs_close_what_was_opened(told: Told) -> None:
    bought, sold = (
        sum((fill.quantity for fill in told.fills("bracket") if fill.side is side), Decimal(0))
        for side in (Side.BUY, Side.SELL)
    )
    assert bought == sold == QUANTITY
    assert {fill.role for fill in told.fills("bracket")} == {
        ChildRole.WHOLE,
        ChildRole.TAKE_PROFIT,
    }


def test_prices_are_within_the_terms(told: Told) -> None:
    fills = {name: told.fills(name) for name in told.asked}
    assert sum(len(found) > 1 for found in fills.values()) >= len(CHILDREN)
    for name, asked in told.asked.items():
        own = [fill for fill in fills[name] if fill.role not in LEGS]
        if asked.stop_price is not None:
            assert all(fill.price >= asked.stop_price for fill in own)
        if asked.limit_price is not None and name != "amended":
            assert all(fill.price <= asked.limit_price for fill in own)


def test_fills_know_their_slippage_against_the_mark_at_the_approval(told: Told) -> None:
    marks = [
        item.record
        for item in of(told.seen[topics.MARKS], MarkPrice)
        if item.record.instrument_id == INSTRUMENT
    ]
    for name in told.asked:
        for fill in told.fills(name):
            issued_ns = told.approved(name).approval.issued_ns
            before = [mark for mark in marks if mark.ts_event_ns <= issued_ns]
            arrival: Decimal | None = price_from_float(before[-1].price)
            if fill.role in LEGS:
                arrival = told.asked[name].take_profit_price
            assert fill.arrival_price == arrival
            sign = 1 if fill.side is Side.BUY else -1
            assert fill.slippage == (fill.price - fill.arrival_price) * sign


def test_the_amendment_and_the_cancel_are_answered(told: Told) -> None:
    assert told.approved("amendment").action is OrderAction.AMEND
    (amended,) = [one for one in told.updates("amendment") if one.is_terminal]
    assert amended.notice is ReportNotice.AMENDED
    assert told.approved("cancellation").action is OrderAction.CANCEL
    (canceled,) = [one for one in told.updates("cancellation") if one.is_terminal]
    assert canceled.status is OrderStatus.CANCELED


def test_a_replay_decides_all_of_it_again(told: Told) -> None:
    assert told.run.replay is not None
    assert told.run.replay.differences == ()
    assert told.run.replay.is_equal
