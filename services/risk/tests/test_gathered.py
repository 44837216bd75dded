"""What is worked out once and kept: correlations, as long as both histories stay what they are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tapeline.risk import in_force
from tapeline.risk.history import History
from tapeline.risk.in_force import LIMITS, Gathered, InForce, is_tighter
from tapeline.risk.state import RiskState

ONE, OTHER, THIRD = "ONE.X", "OTHER.X", "THIRD.X"
LIMIT = Decimal("0.7")


class Measured:
    """Takes the place of `correlation`, and counts."""

    def __init__(self, value: float | None) -> None:
        self.value = value
        self.count = 0

    def __call__(self, first: History, second: History) -> float | None:
        assert first is not None
        assert second is not None
        self.count += 1
        return self.value


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured(0.5)
    monkeypatch.setattr(in_force, "correlation", found)
    return found


def known(*names: str) -> RiskState:
    state = RiskState()
    state.histories = {name: History(interval_ns=1) for name in names}
    return state


def test_a_correlation_is_computed_once(measured: Measured) -> None:
    gathered, state = Gathered(), known(ONE, OTHER)
    assert [gathered.correlation(state, ONE, OTHER) for _ in range(3)] == [Decimal("0.5")] * 3
    assert measured.count == 1


@pytest.mark.parametrize("changed", [ONE, OTHER])
def test_a_bar_of_either_instrument_changes_a_correlation(measured: Measured, changed: str) -> None:
    gathered, state = Gathered(), known(ONE, OTHER)
    gathered.correlation(state, ONE, OTHER)
    measured.value = 0.9
    state.histories[changed] = History(interval_ns=1)
    assert gathered.may_be_alike(state, ONE, [OTHER], LIMIT) == [OTHER]
    assert gathered.correlation(state, ONE, OTHER) == Decimal("0.9")
    assert measured.count == 2


@pytest.mark.parametrize("missing", [ONE, OTHER])
def test_without_one_of_the_histories_there_is_no_correlation(
    measured: Measured, missing: str
) -> None:
    state = known(ONE, OTHER)
    del state.histories[missing]
    assert Gathered().correlation(state, ONE, OTHER) is None
    assert Gathered().may_be_alike(state, ONE, [OTHER], LIMIT) == [OTHER]
    assert measured.count == 0


def test_a_correlation_is_known_to_twelve_decimals(measured: Measured) -> None:
    measured.value = 0.12345678901267
    assert Gathered().correlation(known(ONE, OTHER), ONE, OTHER) == Decimal("0.123456789013")


@pytest.mark.parametrize(
    ("value", "is_alike"),
    [
        (0.7, False),
        (-0.7, False),
        (0.700000000001, True),
        (-0.700000000001, True),
        (0.0, False),
        (None, True),
    ],
)
@pytest.mark.parametrize("looks", [1, 2])
def test_what_is_above_the_limit_either_way_or_unknown_may_be_alike(
    measured: Measured, value: float | None, looks: int, *, is_alike: bool
) -> None:
    measured.value = value
    gathered, state = Gathered(), known(ONE, OTHER)
    for _ in range(looks):
        found = gathered.may_be_alike(state, ONE, [OTHER], LIMIT)
    assert found == ([OTHER] if is_alike else [])


def test_nothing_is_alike_to_itself(measured: Measured) -> None:
    measured.value = 1.0
    gathered, state = Gathered(), known(ONE, OTHER, THIRD)
    assert gathered.may_be_alike(state, ONE, [OTHER, ONE, THIRD], LIMIT) == [OTHER, THIRD]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_not_tighter_than_itself(name: str) -> None:
    assert not is_tighter(name, Decimal(1), Decimal("1.0"))


def test_where_nothing_is_set_nothing_binds_and_nothing_ends() -> None:
    nothing = InForce(values={})
    assert not nothing.trades_in_hours
    # The last instant there is in a record.
    assert nothing.until_ns == 2**63 - 1
