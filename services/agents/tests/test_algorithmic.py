"""Weighted arbitration and the allocator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from agents_samples import (
    DAY_NS,
    IXIC,
    SPX,
    UNIVERSE,
    account_config,
    group_config,
    instrument_config,
    signal,
)
from hypothesis import given
from hypothesis import strategies as st

from tapeline.agents.algorithmic import (
    AlgorithmicGroup,
    has_moved,
    last_price,
    level_price,
    round_weight,
    signed_weight,
)
from tapeline.agents.group import Cycle, GroupSetup
from tapeline.agents.plugins import BadConfig, make_group
from tapeline.contracts.agents import Decision, Direction, Signal
from tapeline.runtime.codec import encode

ZERO = Decimal("0.000000")


def setup_of(parameters: dict[str, str] | None = None, **values: Any) -> GroupSetup:
    return GroupSetup(
        run_id="run",
        group=group_config(parameters=parameters or {}, **values),
        account=account_config(),
        instruments={SPX: instrument_config()},
    )


def cycle_of(opinions: Sequence[Signal], targets: dict[str, Decimal] | None = None) -> Cycle:
    return Cycle(
        group_id="momentum",
        universe=UNIVERSE,
        cycle_ns=7 * DAY_NS,
        slice=7,
        signals=(),
        opinions=tuple(opinions),
        targets=targets or {},
    )


def decided(
    setup: GroupSetup, opinions: Sequence[Signal], targets: dict[str, Decimal] | None = None
) -> tuple[Decision, ...]:
    group = AlgorithmicGroup(setup)
    return asyncio.run(group.decide(cycle_of(opinions, targets))).decisions


def weights(decisions: Sequence[Decision]) -> dict[str, Decimal | None]:
    return {decision.instrument_id: decision.target_weight for decision in decisions}


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ({"confidence": 0.7}, {"confidence": 0.71}),
        ({"expected_return": 0.01}, {"expected_return": 0.011}),
        ({"liquidity": 0.5}, {"liquidity": 0.6}),
        # it is the size of the return that counts
        ({"expected_return": 0.01}, {"expected_return": -0.02}),
    ],
)
def test_the_best_opinion_wins_by_every_factor_of_its_score(
    weaker: dict[str, float], stronger: dict[str, float]
) -> None:
    loses = signal(6, trigger="rsi", direction=Direction.SHORT, **weaker)
    wins = signal(6, trigger="sma", **stronger)
    for opinions in ([loses, wins], [wins, loses]):
        (decision,) = decided(setup_of(), opinions)
        assert decision.target_weight is not None
        assert decision.target_weight > 0
        assert decision.reason.startswith("sma says LONG")


def test_weights_of_triggers_decide_between_equal_opinions() -> None:
    opinions = [signal(6), signal(6, trigger="rsi", direction=Direction.SHORT)]
    lean = setup_of(trigger_weights={"sma": 1.0, "rsi": 1.1})
    assert weights(decided(lean, opinions)) == {SPX: Decimal("-0.040000")}


def test_a_trigger_without_weight_has_no_say() -> None:
    assert decided(setup_of(), [signal(6, trigger="other")]) == ()


def test_equal_scores_go_by_the_name_of_the_trigger() -> None:
    opinions = [signal(6), signal(6, trigger="rsi", direction=Direction.SHORT)]
    for order in (opinions, opinions[::-1]):
        assert weights(decided(setup_of(), order)) == {SPX: Decimal("-0.040000")}


def test_the_target_is_the_weight_times_the_confidence_signed() -> None:
    opinions = [
        signal(6, confidence=0.123456789),
        signal(6, instrument_id=IXIC, direction=Direction.SHORT, confidence=0.5),
    ]
    decisions = decided(setup_of({"band": "0"}), opinions)
    assert weights(decisions) == {IXIC: Decimal("-0.025000"), SPX: Decimal("0.006173")}
    assert [(decision.index, decision.instrument_id) for decision in decisions] == [
        (0, IXIC),
        (1, SPX),
    ]
    assert all(encode(decision) for decision in decisions)


@pytest.mark.parametrize(
    ("held", "confidence", "expected"),
    [
        ("0.040000", 0.80, {}),
        ("0.040000", 0.90, {}),  # 0.045: by the band exactly
        ("0.040000", 0.9001, {SPX: Decimal("0.045005")}),
        ("0.040000", 0.70, {}),
        ("0.040000", 0.6999, {SPX: Decimal("0.034995")}),
        ("-0.040000", 0.10, {SPX: Decimal("0.005000")}),
    ],
)
def test_a_target_is_told_when_it_moves_by_more_than_the_band(
    held: str, confidence: float, expected: dict[str, Decimal]
) -> None:
    targets = {SPX: Decimal(held)}
    assert weights(decided(setup_of(), [signal(6, confidence=confidence)], targets)) == expected


@pytest.mark.parametrize(
    "opinions",
    [
        [],
        [signal(6, direction=Direction.FLAT, confidence=0.0, expected_return=0.0)],
        [signal(6, direction=Direction.FLAT)],
        [signal(6, liquidity=0.0)],
    ],
    ids=["none", "flat without confidence", "flat wins", "nobody scores"],
)
def test_without_a_winner_an_earlier_target_goes_to_zero_and_stays_there(
    opinions: list[Signal],
) -> None:
    (decision,) = decided(setup_of(), opinions, {SPX: Decimal("0.000001")})
    assert decision.target_weight == 0
    assert decision.is_reduce_only
    assert decided(setup_of(), opinions, {SPX: ZERO}) == ()
    assert decided(setup_of(), opinions) == ()


def test_a_close_is_certain_where_nothing_speaks_for_the_position() -> None:
    (decision,) = decided(setup_of(), [], {SPX: Decimal("0.04")})
    assert decision.confidence == 1.0


def test_a_group_that_may_not_go_short_goes_out_instead() -> None:
    setup = setup_of({"allows_short": "false"})
    short = [signal(6, direction=Direction.SHORT)]
    assert decided(setup, short) == ()
    assert weights(decided(setup, short, {SPX: Decimal("0.04")})) == {SPX: ZERO}


def test_an_opinion_on_the_universe_counts_for_every_instrument() -> None:
    opinions = [signal(6, instrument_id="", price=0.0), signal(6, trigger="summary")]
    decisions = decided(setup_of(), opinions)
    assert weights(decisions) == {IXIC: Decimal("0.040000"), SPX: Decimal("0.040000")}
    assert [decision.reference_price for decision in decisions] == [0.0, 2000.0]


@pytest.mark.parametrize(
    ("direction", "profit", "loss"),
    [(Direction.LONG, "2200.00", "1900.00"), (Direction.SHORT, "1800.00", "2100.00")],
)
def test_protective_levels_lie_on_their_sides_where_they_are_asked_for(
    direction: Direction, profit: str, loss: str
) -> None:
    setup = setup_of({"take_profit": "0.1", "stop_loss": "0.05"})
    (decision,) = decided(setup, [signal(6, direction=direction)])
    assert decision.take_profit_price == Decimal(profit)
    assert decision.stop_loss_price == Decimal(loss)
    (plain,) = decided(setup_of(), [signal(6, direction=direction)])
    assert (plain.take_profit_price, plain.stop_loss_price) == (None, None)


def test_an_instrument_without_record_gets_no_protective_levels() -> None:
    setup = setup_of({"stop_loss": "0.05"})
    (decision,) = decided(setup, [signal(6, instrument_id=IXIC)])
    assert decision.stop_loss_price is None


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"bands": "0.1"}, "bands"),
        ({"band": "-1"}, "band"),
        ({"band": "wide"}, "band"),
        ({"stop_loss": "0"}, "stop_loss"),
        ({"take_profit": "1"}, "take_profit"),
    ],
)
def test_a_wrong_parameter_is_refused_and_named(parameters: dict[str, str], named: str) -> None:
    with pytest.raises(BadConfig, match=named) as caught:
        make_group(setup_of(parameters))
    assert "momentum" in caught.value.cause


signals = st.lists(
    st.builds(
        lambda day, trigger, instrument_id, direction, *figures: signal(
            day,
            trigger=trigger,
            instrument_id=instrument_id,
            direction=direction,
            confidence=figures[0],
            expected_return=figures[1],
            liquidity=figures[2],
        ),
        st.integers(1, 6),
        st.sampled_from(["sma", "rsi", "other"]),
        st.sampled_from([SPX, IXIC, ""]),
        st.sampled_from(list(Direction)),
        st.floats(0, 1),
        st.floats(-1, 1),
        st.floats(0, 1),
    ),
    max_size=8,
    unique_by=lambda item: item.signal_id,
)
targets = st.dictionaries(
    st.sampled_from([SPX, IXIC]), st.decimals("-0.05", "0.05", places=6), max_size=2
)


@given(signals.flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))), targets)
def test_arbitration_does_not_depend_on_the_order_of_opinions(
    orders: tuple[list[Signal], list[Signal]], held: dict[str, Decimal]
) -> None:
    setup = setup_of()
    assert decided(setup, orders[0], held) == decided(setup, orders[1], held)


@given(signals, targets)
def test_a_target_never_exceeds_the_group_s_weight_and_a_repeat_is_silent(
    opinions: list[Signal], held: dict[str, Decimal]
) -> None:
    setup = setup_of()
    decisions = decided(setup, opinions, held)
    for decision in decisions:
        assert decision.target_weight is not None
        assert abs(decision.target_weight) <= setup.group.target_weight
        assert decision.target_weight == round_weight(decision.target_weight)
    reached = {**held, **weights(decisions)}
    assert decided(setup, opinions, reached) == ()  # type: ignore[arg-type]  # targets have weights


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("0.0000005", "0.000000"),
        ("0.0000015", "0.000002"),
        ("-0.0000005", "0.000000"),
        ("-0.0000015", "-0.000002"),
        ("0.1234564999", "0.123456"),
    ],
)
def test_weights_are_rounded_to_six_decimals_ties_to_even(weight: str, expected: str) -> None:
    assert str(round_weight(Decimal(weight))) == expected


def test_a_weight_takes_the_confidence_as_it_is_written() -> None:
    assert signed_weight(Decimal(1), 0.1, -1) == Decimal("-0.100000")


@pytest.mark.parametrize(
    ("held", "wanted", "is_told"),
    [("0", "0", False), ("0.1", "0", True), ("0", "0.2", False), ("0", "0.21", True)],
)
def test_a_move_is_more_than_the_band_or_to_zero(held: str, wanted: str, is_told: bool) -> None:
    assert has_moved(Decimal(held), Decimal(wanted), Decimal("0.2")) is is_told


def test_levels_are_rounded_to_the_nearest_tick() -> None:
    assert level_price(100.1, Decimal("0.1"), Decimal("0.25")) == Decimal("110.00")
    assert level_price(100.3, Decimal("-0.5"), Decimal("0.25")) == Decimal("50.25")


def test_the_price_told_is_the_newest_on_the_instrument() -> None:
    opinions = [signal(6, price=10.0), signal(5, price=9.0), signal(6, instrument_id=IXIC)]
    assert last_price(opinions, SPX) == 10.0
    assert last_price([], SPX) == 0.0
