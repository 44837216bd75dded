"""Guards of the market on both sides of their edges. NAV is 100,000 USD, SPY at 100."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    EWG,
    NOW,
    SECOND,
    SPY,
    Desk,
    decision,
    desk,
    instrument,
    mandate,
    mark,
    order,
    update_of,
    venue,
)

from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Limits, Mandate
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, Side
from tapeline.contracts.risk import Denial, DenialCode, LimitWarning
from tapeline.risk.history import BARS_MAX, BARS_MIN

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
MINUTE = 60 * SECOND


def wide(**limits: Any) -> Mandate:
    """A mandate in which nothing binds but what a test says."""
    return mandate(
        position_weight_max=D(10),
        gross_exposure_max=D(10),
        leverage_max=D(10),
        cash_reserve_min=D(-10),
        allows_short=True,
        limits=Limits(**limits),
    )


def refused(world: Desk, asked: Decision, code: DenialCode) -> Denial:
    denial = world.denied(asked)
    assert denial.code is code, denial
    assert denial.reason
    return denial


def lets_out(world: Desk, number: int = 9) -> None:
    """What is held can be closed whatever a market guard says."""
    world.hold("5")
    assert world.approved(order(SELL, "5", index=number)).order.quantity == 5


def bars(
    world: Desk, closes: list[float], volumes: list[float] | None = None, name: str = SPY
) -> None:
    """The last minutes of an instrument."""
    for number, close in enumerate(closes):
        end_ns = NOW - (len(closes) - 1 - number) * MINUTE
        world.tell(
            Bar(
                instrument_id=name,
                feed="f",
                interval_ns=MINUTE,
                ts_open_ns=end_ns - MINUTE,
                open=close,
                high=close,
                low=close,
                close=close,
                volume=10.0 if volumes is None else volumes[number],
                tick_count=1,
                late_count=0,
                is_complete=True,
                origin=TickOrigin.EXCHANGE,
                ts_event_ns=end_ns,
                ts_init_ns=end_ns,
            )
        )


def remembering(*records: Mandate, count: int = 0) -> Desk:
    """A world that keeps one-minute bars of both instruments."""
    return desk(
        *records,
        instrument(history_interval_ns=MINUTE),
        instrument(EWG, history_interval_ns=MINUTE),
        marks=[mark(), mark(EWG)],
    )


# ---- trading hours: NOW is Friday, 14 July 2017, 02:40 UTC


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (13 * 3600 + 30 * 60 - (2 * 3600 + 40 * 60) - 1, DenialCode.MARKET_CLOSED),
        (13 * 3600 + 30 * 60 - (2 * 3600 + 40 * 60), None),
        (20 * 3600 - (2 * 3600 + 40 * 60) - 1, None),
        (20 * 3600 - (2 * 3600 + 40 * 60), DenialCode.MARKET_CLOSED),
    ],
)
def test_entries_keep_to_the_sessions(seconds: int, code: DenialCode | None) -> None:
    world = desk(replace(wide(trades_in_hours=True), mark_age_max_ns=10**15))
    world.now_ns += seconds * SECOND
    asked = decision(cycle_ns=world.now_ns, ts_event_ns=world.now_ns)
    if code is None:
        world.approved(asked)
        return
    denial = refused(world, asked, code)
    assert denial.measured == world.now_ns // SECOND
    assert denial.limit is not None
    assert denial.limit > denial.measured


def test_outside_of_the_sessions_one_can_leave() -> None:
    world = desk(wide(trades_in_hours=True))
    refused(world, decision(), DenialCode.MARKET_CLOSED)
    lets_out(world)


@pytest.mark.parametrize("calendar", ["", "MOON"])
def test_a_calendar_that_nobody_knows_is_denied(calendar: str) -> None:
    world = desk(wide(trades_in_hours=True), instrument(calendar=calendar))
    denial = refused(world, decision(), DenialCode.CALENDAR_UNKNOWN)
    assert (denial.measured, denial.limit) == (None, None)
    desk(wide(), instrument(calendar=calendar)).approved(decision())


# ---- spread


@pytest.mark.parametrize(
    ("bid", "ask", "is_narrow"),
    [
        (99.95, 100.05, True),
        (99.94, 100.05, False),
        (100.0, 100.0, True),
        (100.05, 99.95, False),  # crossed
        (0.0, 100.0, False),
    ],
)
def test_the_spread_of_the_mark_s_quote(bid: float, ask: float, is_narrow: bool) -> None:
    world = desk(wide(spread_max=D("0.001")), venue(half_spread_rate=D(0)))
    world.tell(replace(mark(), bid_price=bid, ask_price=ask))
    if is_narrow:
        world.approved(decision())
        return
    denial = refused(world, decision(), DenialCode.SPREAD)
    assert denial.limit == D("0.001")
    lets_out(world)


@pytest.mark.parametrize(("half", "is_narrow"), [("0.0005", True), ("0.00051", False)])
def test_where_only_trades_are_known_the_venue_s_own_counts(half: str, is_narrow: bool) -> None:
    world = desk(wide(spread_max=D("0.001")), venue(half_spread_rate=D(half)))
    if is_narrow:
        world.approved(decision())
    else:
        assert refused(world, decision(), DenialCode.SPREAD).measured == D("0.00102")


# ---- volume


def test_an_order_is_a_share_of_the_average_volume() -> None:
    world = remembering(wide(volume_share_max=D("0.1")))
    bars(world, [100.0] * BARS_MIN, [1_000.0] * BARS_MIN)
    world.approved(order(BUY, "60"))
    said = world.tell(order(BUY, "41", index=1))
    assert isinstance(said[0], ApprovedOrder)
    assert said[0].order.quantity == 40
    assert isinstance(said[1], LimitWarning)
    assert (said[1].code, said[1].measured, said[1].limit) == (
        DenialCode.VOLUME_SHARE,
        D("0.101"),
        D("0.1"),
    )
    refused(world, order(BUY, "1", index=2), DenialCode.VOLUME_SHARE)
    world.approved(order(SELL, "100", index=3))


@pytest.mark.parametrize(
    ("count", "volume", "is_known"),
    [(BARS_MIN, 1_000.0, True), (BARS_MIN - 1, 1_000.0, False), (BARS_MIN, 0.0, False)],
)
def test_without_a_volume_nothing_is_entered(count: int, volume: float, is_known: bool) -> None:
    world = remembering(wide(volume_share_max=D("0.1")))
    bars(world, [100.0] * count, [volume] * count)
    if is_known:
        world.approved(decision())
        return
    assert refused(world, decision(), DenialCode.VOLUME_SHARE).measured is None
    lets_out(world)


def test_an_instrument_without_bars_is_not_entered_where_volume_counts() -> None:
    world = desk(wide(volume_share_max=D("0.1")))
    bars(world, [100.0] * BARS_MAX)
    refused(world, decision(), DenialCode.VOLUME_SHARE)


@pytest.mark.parametrize(
    "change",
    [
        {"interval_ns": MINUTE + 1},
        {"ts_event_ns": NOW + 2 * SECOND},
        {"close": 0.0},
        {"close": 1e300},
        {"volume": -1.0},
    ],
)
def test_bars_that_nobody_asked_for_or_can_believe_are_passed_over(change: dict[str, Any]) -> None:
    world = remembering(wide())
    bars(world, [100.0])
    kept = world.state.histories[SPY]
    event, _ = world.history[-1]
    later = replace(event.record, ts_event_ns=NOW + 1)
    world.tell(replace(later, **change))
    assert world.state.histories[SPY] == kept
    world.tell(later)
    assert world.state.histories[SPY] != kept


# ---- correlation

UP_DOWN = [100.0, 101.0, 100.5, 102.0, 101.0, 103.0, 102.0] * 9
OTHER_WAY = [10_000.0 / close for close in UP_DOWN]


def paired(limit: str, own: list[float], other: list[float]) -> Desk:
    world = remembering(wide(correlation_max=D(limit)))
    bars(world, own)
    bars(world, other, name=EWG)
    return world


@pytest.mark.parametrize(
    ("other", "held", "side", "is_alike"),
    [
        (UP_DOWN, "5", BUY, True),
        (UP_DOWN, "-5", BUY, False),
        (UP_DOWN, "5", SELL, False),
        (UP_DOWN, "-5", SELL, True),
        (OTHER_WAY, "5", BUY, False),
        (OTHER_WAY, "-5", BUY, True),
    ],
)
def test_directions_make_alike_or_opposite(
    other: list[float], held: str, side: Side, is_alike: bool
) -> None:
    world = paired("0.7", UP_DOWN, other)
    world.hold(held, instrument_id=EWG)
    if is_alike:
        denial = refused(world, order(side, "5"), DenialCode.CORRELATION)
        assert denial.measured is not None
        assert denial.measured > D("0.99")
        assert (denial.limit, EWG in denial.reason) == (D("0.7"), True)
        lets_out(world)
    else:
        world.approved(order(side, "5"))


def test_the_edge_of_a_correlation() -> None:
    world = paired("0.7", UP_DOWN, [100.0 + number % 5 for number in range(len(UP_DOWN))])
    world.hold("5", instrument_id=EWG)
    found = world.core._gathered.correlation(world.state, SPY, EWG)
    assert found is not None
    exact = found
    for limit, is_alike in ((exact, False), (exact - D("1E-12"), True)):
        edge = paired(str(limit), UP_DOWN, [100.0 + n % 5 for n in range(len(UP_DOWN))])
        edge.hold("5", instrument_id=EWG)
        if is_alike:
            assert refused(edge, order(BUY, "5"), DenialCode.CORRELATION).measured == exact
        else:
            edge.approved(order(BUY, "5"))


def test_open_orders_count_as_held_and_nothing_held_is_alike_to_nothing() -> None:
    world = paired("0.7", UP_DOWN, UP_DOWN)
    first = world.approved(order(BUY, "5", instrument_id=EWG))
    refused(world, order(BUY, "5", index=1), DenialCode.CORRELATION)
    world.tell(update_of(first, OrderStatus.UNKNOWN, is_terminal=False))
    refused(world, order(SELL, "5", instrument_id=EWG, index=2), DenialCode.TRADING_REDUCING)
    refused(world, order(BUY, "5", index=3), DenialCode.CORRELATION)
    world.tell(update_of(first, OrderStatus.CANCELED))
    world.approved(order(BUY, "5", index=4))
    world.approved(order(BUY, "5", index=5))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (UP_DOWN[: BARS_MIN - 1], UP_DOWN),
        (UP_DOWN, UP_DOWN[: BARS_MIN - 1]),
        (UP_DOWN, []),
        ([], UP_DOWN),
        (UP_DOWN, [5.0] * 60),
    ],
)
def test_a_correlation_that_is_not_known_is_denied(own: list[float], other: list[float]) -> None:
    world = paired("0.7", own, other)
    world.approved(order(BUY, "1"))
    world.hold("5", instrument_id=EWG)
    denial = refused(world, order(BUY, "5", index=1), DenialCode.CORRELATION)
    assert (denial.measured, denial.limit) == (None, D("0.7"))


def test_a_new_bar_is_a_new_correlation() -> None:
    world = paired("0.7", UP_DOWN, UP_DOWN)
    gathered = world.core._gathered
    before = gathered.correlation(world.state, SPY, EWG)
    assert gathered.correlation(world.state, SPY, EWG) == before
    event, _ = world.history[-1]
    world.tell(replace(event.record, ts_event_ns=NOW + 1, close=50.0))
    world.tell(replace(event.record, instrument_id=SPY, ts_event_ns=NOW + 1, close=200.0))
    after = gathered.correlation(world.state, SPY, EWG)
    assert after is not None
    assert before is not None
    assert after < before


# ---- sectors


def test_a_sector_is_limited_as_a_whole() -> None:
    world = desk(wide(sector_weight_max=D("0.25")), marks=[mark(), mark(EWG)])
    world.hold("100", instrument_id=EWG)
    world.approved(order(BUY, "50", instrument_id=EWG))
    said = world.tell(order(BUY, "101", index=1))
    assert isinstance(said[0], ApprovedOrder)
    assert said[0].order.quantity == 100
    assert (said[1].code, said[1].measured, said[1].limit) == (
        DenialCode.SECTOR_LIMIT,
        D("0.251"),
        D("0.25"),
    )
    refused(world, order(BUY, "1", index=2), DenialCode.SECTOR_LIMIT)


def test_another_sector_is_another_sector_and_none_is_denied() -> None:
    limits = wide(sector_weight_max=D("0.25"))
    world = desk(limits, instrument(sector="other"), marks=[mark(), mark(EWG)])
    world.hold("250", instrument_id=EWG)
    world.approved(order(BUY, "250"))
    nameless = desk(limits, instrument(sector=""))
    denial = refused(nameless, decision(), DenialCode.SECTOR_LIMIT)
    assert (denial.measured, denial.limit) == (None, D("0.25"))
    lets_out(nameless)
    assert ACCOUNT in nameless.state.accounts


def test_what_was_held_and_is_flat_is_alike_to_nothing() -> None:
    world = paired("0.7", UP_DOWN, UP_DOWN)
    world.hold("5", instrument_id=EWG)
    world.hold("-5", instrument_id=EWG, group_id="other")
    assert EWG in world.state.accounts[ACCOUNT].ledger.lines
    world.approved(order(BUY, "5"))
