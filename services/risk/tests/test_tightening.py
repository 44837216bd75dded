"""A tighter limit never approves more, wherever it is set; nothing is approved above the ask."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    EWG,
    NOW,
    SECOND,
    SPY,
    Desk,
    account,
    decision,
    desk,
    group,
    instrument,
    mandate,
    mark,
    order,
)

from tapeline.contracts.config import Limits, Mandate, RiskOverlay
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import ApprovedOrder, OrderType, Side
from tapeline.risk.in_force import FLOORS, LIMITS

D = Decimal
MINUTE = 60 * SECOND
WHOLE = frozenset(
    name for name in LIMITS if name.endswith(("_ns", "day_max", "orders_max", "rate_max"))
)
SCALES = {
    "order_quantity": D(800),
    "order_notional": D(80_000),
    "capital": D(90_000),
    "loss_amount": D(3_000),
    "ns": D(20 * SECOND),
    "day": D(3),
    "orders": D(3),
    "rate": D(3),
    "volume": D(2),
    "spread": D("0.01"),
    "daily": D("0.05"),
    "price_collar": D("0.1"),
}


def scale_of(name: str) -> Decimal:
    """What a limit of this name is between nothing and everything."""
    parts = name.removesuffix("_max").removesuffix("_min")
    for key, value in SCALES.items():
        if key == parts or parts.startswith(f"{key}_") or parts.endswith(f"_{key}"):
            return value
    return SCALES.get(parts, D(1))


def limits_of(name: str, share: Decimal) -> Limits:
    value = scale_of(name) * share
    return Limits(**{name: int(value) if name in WHOLE else value})


def wide() -> Mandate:
    return mandate(
        position_weight_max=D(2),
        gross_exposure_max=D(2),
        leverage_max=D(2),
        cash_reserve_min=D(-1),
        confidence_min=0.0,
        decision_age_max_ns=10**15,
        mark_age_max_ns=10**15,
        price_collar=D(1),
        protective_distance_max=D(1),
        daily_loss_max=D(1),
        drawdown_max=D(1),
        allows_short=True,
    )


def placed(place: str, limits: Limits) -> Any:
    """A config record that sets limits at a place."""
    if place == "account":
        return account(limits=limits)
    if place == "group":
        return group(limits=limits)
    if place == "instrument":
        return instrument(history_interval_ns=MINUTE, limits=limits)
    if place == "mandate":
        return replace(wide(), limits=limits)
    return replace(wide(), instrument_limits={SPY: limits})


@lru_cache(maxsize=1)
def base() -> bytes:
    """An account that can do nearly anything, with a window of bars of both instruments."""
    world = desk(
        wide(),
        instrument(history_interval_ns=MINUTE),
        instrument(EWG, history_interval_ns=MINUTE),
        marks=[mark(), mark(EWG)],
    )
    for number in range(25):
        for name, phase in ((SPY, 0), (EWG, number % 3)):
            end_ns = NOW - (24 - number) * MINUTE
            world.tell(bar(name, end_ns, 100.0 + (number + phase) % 4))
    return world.core.dump(world.state)


def world_of(setup: tuple[int, int, int, float], *changes: Any) -> Desk:
    """An account that holds and has on order something of both instruments, and has lost a bit."""
    held, other, pending, price = setup
    world = Desk()
    world.state = world.core.load(base())
    for name, quantity in ((SPY, held), (EWG, other)):
        if quantity:
            world.hold(str(quantity), instrument_id=name)
    if pending:
        side = Side.BUY if pending > 0 else Side.SELL
        world.tell(order(side, str(abs(pending)), index=-1, group_id="MANUAL"))
    quoted = replace(mark(price=price), bid_price=price * 0.999, ask_price=price * 1.001)
    world.tell(replace(quoted, ts_event_ns=NOW + SECOND))
    world.now_ns += 3 * SECOND
    for change in changes:
        said = world.tell(replace(change, version=3))
        assert said == [], said
    return world


def bar(name: str, end_ns: int, close: float) -> Bar:
    return Bar(
        instrument_id=name,
        feed="f",
        interval_ns=MINUTE,
        ts_open_ns=end_ns - MINUTE,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=500.0,
        tick_count=1,
        late_count=0,
        is_complete=True,
        origin=TickOrigin.EXCHANGE,
        ts_event_ns=end_ns,
        ts_init_ns=end_ns,
    )


def granted(world: Desk, ask: dict[str, Any]) -> tuple[Side | None, Decimal]:
    asked = (
        decision(**ask)
        if "target_weight" in ask
        else order(ask["side"], ask["quantity"], **{k: ask[k] for k in ask.keys() - SIZE})
    )
    said = world.tell(asked)
    approved = [item for item in said if isinstance(item, ApprovedOrder)]
    if not approved:
        return None, D(0)
    (one,) = approved
    if asked.quantity is not None:
        assert one.order.quantity <= asked.quantity
    return one.order.side, one.order.quantity


SIZE = frozenset(("side", "quantity"))
SETUPS = st.tuples(
    st.integers(-300, 300), st.integers(-300, 300), st.integers(-200, 200), st.floats(90.0, 110.0)
)
CONFIDENCE = st.sampled_from([0.0, 0.3, 0.8, 1.0])
ASKS = st.one_of(
    st.fixed_dictionaries(
        {"target_weight": st.decimals(D("-0.9"), D("0.9"), places=2), "confidence": CONFIDENCE}
    ),
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(Side),
            "quantity": st.integers(1, 900).map(str),
            "confidence": CONFIDENCE,
        }
    ),
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(Side),
            "quantity": st.integers(1, 900).map(str),
            "order_type": st.just(OrderType.LIMIT),
            "limit_price": st.integers(95, 105).map(D),
            "stop_loss_price": st.none() | st.just(D(80)),
            "confidence": CONFIDENCE,
        }
    ),
)
SHARES = st.decimals(D(0), D(1), places=2)
PLACES = st.sampled_from(["account", "mandate", "mandate, instrument", "group", "instrument"])


@settings(max_examples=250, deadline=None)
@given(SETUPS, ASKS, st.sampled_from(LIMITS), SHARES, SHARES, PLACES)
def test_a_tighter_limit_never_approves_more(
    setup: tuple[int, int, int, float],
    ask: dict[str, Any],
    name: str,
    one: Decimal,
    two: Decimal,
    place: str,
) -> None:
    loose, tight = (
        (min(one, two), max(one, two)) if name in FLOORS else (max(one, two), min(one, two))
    )
    free = granted(world_of(setup), ask)
    more = granted(world_of(setup, placed(place, limits_of(name, loose))), ask)
    less = granted(world_of(setup, placed(place, limits_of(name, tight))), ask)
    assert less[1] <= more[1] <= free[1]
    for side, _ in (more, less):
        assert side in (None, free[0])


@settings(max_examples=100, deadline=None)
@given(SETUPS, ASKS, st.sampled_from(LIMITS), SHARES)
def test_an_overlay_never_approves_more(
    setup: tuple[int, int, int, float], ask: dict[str, Any], name: str, share: Decimal
) -> None:
    overlay = RiskOverlay(
        overlay_id="o",
        account_id=ACCOUNT,
        field=name,
        value=D(int(scale_of(name) * share)) if name in WHOLE else scale_of(name) * share,
        expires_ns=NOW + 60 * SECOND,
        version=1,
    )
    side, quantity = granted(world_of(setup, overlay), ask)
    free_side, free_quantity = granted(world_of(setup), ask)
    assert quantity <= free_quantity
    assert side in (None, free_side)


def test_the_scales_reach_both_sides_of_every_limit() -> None:
    """At its tightest each limit denies or cuts one of these: the property can fail."""
    asks: tuple[dict[str, Any], ...] = (
        {"target_weight": D("0.8"), "confidence": 0.3},
        {
            "side": Side.BUY,
            "quantity": "600",
            "order_type": OrderType.LIMIT,
            "limit_price": D(105),
            "stop_loss_price": D(80),
            "confidence": 0.3,
        },
    )
    unmoved = []
    for name in LIMITS:
        share = D(1) if name in FLOORS else D(0)
        tight = placed("account", limits_of(name, share))
        setup = (100, 150, 100, 97.0)
        if not any(
            granted(world_of(setup, tight), ask)[1] < granted(world_of(setup), ask)[1]
            for ask in asks
        ):
            unmoved.append(name)
    # The group itself entered nothing and asked for nothing shortly before.
    assert unmoved == ["group_cooldown_ns", "duplicate_window_ns"]
