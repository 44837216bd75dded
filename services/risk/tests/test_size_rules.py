"""Sizing: each rule, its edges, and that it reduces and never raises. NAV 100,000, SPY at 100."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    EWG,
    NOW,
    SECOND,
    SPY,
    Desk,
    decision,
    desk,
    group,
    instrument,
    mandate,
    mark,
    order,
)

from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Sizing, SizingMethod, TradingGroup
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import ApprovedOrder, OrderAction, Side
from tapeline.contracts.risk import Denial, DenialCode, LimitWarning
from tapeline.risk.history import BARS_MIN, YEAR_NS, History

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
MINUTE = 60 * SECOND
METHOD = SizingMethod


def sized(method: SizingMethod, **figures: Any) -> TradingGroup:
    values = {name: D(value) for name, value in figures.items()}
    return group(sizing=Sizing(method=method, **values))


def world_of(record: TradingGroup, **limits: Any) -> Desk:
    wide = mandate(
        position_weight_max=D(10),
        gross_exposure_max=D(10),
        leverage_max=D(10),
        cash_reserve_min=D(-10),
        protective_distance_max=D(1),
        confidence_min=0.0,
        allows_short=True,
        **limits,
    )
    return desk(wide, record, instrument(history_interval_ns=MINUTE), marks=[mark(), mark(EWG)])


def granted(world: Desk, asked: Decision) -> Decimal:
    """Units approved; 0 for a denial, which must be the sizing's."""
    said = world.tell(asked)
    if isinstance(said[0], Denial):
        assert said[0].code is DenialCode.SIZING, said[0]
        return D(0)
    assert isinstance(said[0], ApprovedOrder)
    for warning in said[1:]:
        assert isinstance(warning, LimitWarning)
        assert warning.code is DenialCode.SIZING
    quantity: Decimal = said[0].order.quantity
    return quantity


# ---- table: a target of 40 %, 400 units


@pytest.mark.parametrize(
    ("record", "confidence", "quantity"),
    [
        (group(), 0.5, "400"),
        (sized(METHOD.AS_ASKED), 0.5, "400"),
        (sized(METHOD.AS_ASKED, weight_max="0.3"), 0.5, "300"),
        (sized(METHOD.AS_ASKED, weight_max="0.4"), 0.5, "400"),
        (sized(METHOD.FIXED, fixed_weight="0.1"), 0.5, "100"),
        (sized(METHOD.FIXED, fixed_weight="0.9"), 0.5, "400"),
        (sized(METHOD.FIXED, fixed_quantity="7"), 0.5, "7"),
        (sized(METHOD.FIXED, fixed_quantity="7", fixed_weight="0.005"), 0.5, "5"),
        (sized(METHOD.FIXED, fixed_weight="0.2", weight_max="0.1"), 0.5, "100"),
        (sized(METHOD.CONFIDENCE), 1.0, "400"),
        (sized(METHOD.CONFIDENCE), 0.5, "200"),
        (sized(METHOD.CONFIDENCE), 0.0, "0"),
        # f* = (0.6 x 2 - 0.4) / 2 = 0.4; half of it is 0.2
        (sized(METHOD.KELLY, kelly_fraction="0.5", payoff_ratio="2"), 0.6, "200"),
        (sized(METHOD.KELLY, kelly_fraction="1", payoff_ratio="2"), 0.6, "400"),
        (sized(METHOD.KELLY, kelly_fraction="1", payoff_ratio="2", weight_max="0.1"), 0.6, "100"),
        # f* = (0.5 x 1 - 0.5) / 1 = 0: no edge, no order
        (sized(METHOD.KELLY, kelly_fraction="1", payoff_ratio="1"), 0.5, "0"),
        (sized(METHOD.KELLY, kelly_fraction="1", payoff_ratio="1"), 0.3, "0"),
        (sized(METHOD.KELLY, kelly_fraction="1"), 0.6, "0"),
        # a method of a later version
        (sized(METHOD.UNKNOWN, weight_max="1"), 0.6, "0"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_each_rule(record: TradingGroup, confidence: float, quantity: str, sign: int) -> None:
    world = world_of(record)
    asked = decision(target_weight=D("0.4") * sign, confidence=confidence)
    assert granted(world, asked) == D(quantity)


def test_kelly_takes_its_odds_from_the_protective_levels() -> None:
    world = world_of(sized(METHOD.KELLY, kelly_fraction="1", payoff_ratio="9"))
    asked = decision(
        target_weight=D("0.9"),
        confidence=0.6,
        take_profit_price=D(110),
        stop_loss_price=D(95),
    )
    # b = 10 / 5; f* = (0.6 x 2 - 0.4) / 2
    assert granted(world, asked) == 400


# ---- volatility


def minutes(world: Desk, closes: list[float]) -> None:
    for number, close in enumerate(closes):
        end_ns = NOW - (len(closes) - 1 - number) * MINUTE
        world.tell(
            Bar(
                instrument_id=SPY,
                feed="f",
                interval_ns=MINUTE,
                ts_open_ns=end_ns - MINUTE,
                open=close,
                high=close,
                low=close,
                close=close,
                volume=1.0,
                tick_count=1,
                late_count=0,
                is_complete=True,
                origin=TickOrigin.EXCHANGE,
                ts_event_ns=end_ns,
                ts_init_ns=end_ns,
            )
        )


def test_a_line_is_as_large_as_its_volatility_allows() -> None:
    world = world_of(sized(METHOD.VOLATILITY_TARGET, volatility_target="0.8"))
    # Returns of +1 % and about -1 % in turn: 1 % a minute.
    minutes(world, [100.0 if number % 2 else 101.0 for number in range(41)])
    a_year = 0.00995 * (YEAR_NS / MINUTE) ** 0.5
    found = granted(world, decision(target_weight=D("0.9")))
    assert abs(float(found) - 0.8 / a_year * 1_000) < 2.0


@pytest.mark.parametrize("closes", [[], [100.0, 101.0] * 10, [100.0] * 50])
def test_an_unknown_volatility_is_denied(closes: list[float]) -> None:
    world = world_of(sized(METHOD.VOLATILITY_TARGET, volatility_target="0.8"))
    assert len(closes) < BARS_MIN or len(set(closes)) == 1
    minutes(world, closes)
    denial = world.denied(decision())
    assert (denial.code, denial.measured) == (DenialCode.SIZING, None)
    world.hold("5")
    assert world.approved(order(SELL, "5", index=1)).order.quantity == 5


# ---- explicit orders, other lines, figures


def test_explicit_orders_are_sized_too() -> None:
    world = world_of(sized(METHOD.FIXED, fixed_weight="0.1"))
    assert granted(world, order(BUY, "60")) == 60
    assert granted(world, order(BUY, "60", index=1)) == 40
    assert granted(world, order(BUY, "60", index=2)) == 0
    halves = world_of(sized(METHOD.CONFIDENCE))
    assert granted(halves, order(BUY, "60", confidence=0.5)) == 30


def test_operators_and_other_groups_have_their_own_line() -> None:
    world = world_of(sized(METHOD.FIXED, fixed_weight="0.1"))
    world.tell(group("other"))
    world.hold("100")
    assert granted(world, order(BUY, "60")) == 0
    assert granted(world, order(BUY, "60", group_id="other")) == 60
    assert granted(world, order(BUY, "60", group_id="MANUAL")) == 60


def test_the_figures_of_a_cut() -> None:
    world = world_of(sized(METHOD.FIXED, fixed_weight="0.1"))
    approved, warning = world.tell(decision(target_weight=D("0.4")))
    assert approved.order.quantity == 100
    assert (warning.measured, warning.limit) == (D("0.4"), D("0.1"))


def test_a_rule_never_turns_an_entry_into_an_exit() -> None:
    """Holding more than the rule allows is no reason to sell what nobody asked to sell."""
    world = world_of(sized(METHOD.FIXED, fixed_weight="0.1"))
    world.hold("300")
    assert granted(world, decision(target_weight=D("0.4"))) == 0
    assert granted(world, decision(target_weight=D("0.25"), index=1)) == 50


@pytest.mark.parametrize(
    ("held", "weight", "action"),
    [
        ("0", "0.05", OrderAction.OPEN),
        ("20", "0.05", OrderAction.UPDATE),
        ("80", "0.05", OrderAction.UPDATE),
        ("80", "-0.05", OrderAction.FLIP),
        ("80", "0", OrderAction.CLOSE),
        ("50", "0.05", None),
    ],
)
def test_outcomes_reject_update_flip_open(
    held: str, weight: str, action: OrderAction | None
) -> None:
    world = world_of(sized(METHOD.FIXED, fixed_weight="0.9"))
    if D(held):
        world.hold(held)
    (said,) = world.tell(decision(target_weight=D(weight)))
    if action is None:
        assert isinstance(said, Denial)
    else:
        assert isinstance(said, ApprovedOrder)
        assert said.action is action


FIGURES = st.decimals(D("0"), D("1.2"), places=2)
SIZINGS = st.builds(
    Sizing,
    method=st.sampled_from(
        [METHOD.AS_ASKED, METHOD.FIXED, METHOD.KELLY, METHOD.CONFIDENCE, METHOD.VOLATILITY_TARGET]
    ),
    weight_max=st.none() | FIGURES,
    fixed_weight=FIGURES,
    fixed_quantity=st.none() | st.decimals(D(0), D(900), places=0),
    volatility_target=FIGURES,
    kelly_fraction=FIGURES,
    payoff_ratio=st.none() | FIGURES,
)


@settings(max_examples=150, deadline=None)
@given(
    SIZINGS,
    st.integers(-300, 300),
    st.decimals(D("-0.9"), D("0.9"), places=2),
    st.floats(0, 1),
    st.booleans(),
)
def test_no_rule_raises_what_was_asked(
    sizing: Sizing, held: int, weight: Decimal, confidence: float, is_order: bool
) -> None:
    """Beside a group without a rule: the same side, never more, and never another way."""
    answers = []
    for record in (group(), group(sizing=sizing)):
        world = world_of(record)
        minutes(world, [100.0 if number % 2 else 101.0 for number in range(25)])
        if held:
            world.hold(str(held))
        asked = (
            order(BUY if weight > 0 else SELL, str(abs(weight) * 1000 + 1), confidence=confidence)
            if is_order
            else decision(target_weight=weight, confidence=confidence)
        )
        said = world.tell(asked)[0]
        answers.append(said.order if isinstance(said, ApprovedOrder) else None)
    plain, ruled = answers
    if ruled is not None:
        assert plain is not None
        assert ruled.side is plain.side
        assert ruled.quantity <= plain.quantity


def test_a_volatility_too_small_to_be_a_figure_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(sized(METHOD.VOLATILITY_TARGET, volatility_target="0.8"))
    minutes(world, [100.0, 101.0] * 20)
    monkeypatch.setattr(History, "volatility", lambda _: 1e-19)
    denial = world.denied(decision())
    assert denial.code is DenialCode.SIZING
    assert "too small" in denial.reason
