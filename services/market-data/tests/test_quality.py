from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.contracts.market import QualityFlag, TickOrigin
from tapeline.market_data import quality
from tapeline.market_data.feeds.interface import RawMacro, RawQuote, RawTrade
from tapeline.market_data.quality import Gate, Limits, Refusal

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
NAN, INFINITY = float("nan"), float("inf")
TRADE = RawTrade(instrument_id="A.X", price=100.0, size=1.0, ts_event_ns=NOW)
QUOTE = RawQuote(instrument_id="A.X", bid_price=99.0, ask_price=101.0, ts_event_ns=NOW)


def code(verdict: tuple[QualityFlag, ...] | Refusal) -> str:
    return verdict.code if isinstance(verdict, Refusal) else "/".join(verdict)


def warm(limits: Limits | None = None, price: float = 100.0, count: int = 20) -> Gate:
    """A gate that has seen a quiet market up to NOW."""
    gate = Gate(limits or Limits())
    for index in range(count):
        tick = replace(TRADE, price=price, ts_event_ns=NOW - (count - index) * SECOND)
        assert gate.judge(tick, None) == ()
    return gate


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (TRADE, ""),
        (replace(TRADE, price=NAN), "NOT_FINITE"),
        (replace(TRADE, price=INFINITY), "NOT_FINITE"),
        (replace(TRADE, size=-INFINITY), "NOT_FINITE"),
        (replace(TRADE, price=0.0), "NOT_POSITIVE"),
        (replace(TRADE, price=-0.0), "NOT_POSITIVE"),
        (replace(TRADE, price=-1.0), "NOT_POSITIVE"),
        (replace(TRADE, price=5e-324), ""),
        (replace(TRADE, size=0.0), "NOT_POSITIVE"),
        (replace(TRADE, size=0.0, origin=TickOrigin.BAR_LOW), ""),
        (replace(TRADE, size=-1.0, origin=TickOrigin.BAR_LOW), "NOT_POSITIVE"),
        (replace(TRADE, price=1e300), "OUT_OF_RANGE"),
        (replace(TRADE, price=1e12), ""),
        (replace(TRADE, size=1e300), "OUT_OF_RANGE"),
        (replace(TRADE, ts_event_ns=-1), "BAD_TIMESTAMP"),
        (replace(TRADE, ts_event_ns=NOW * 1000), "BAD_TIMESTAMP"),
        (replace(TRADE, is_suspicious=True), "SUSPICIOUS"),
        (replace(TRADE, is_after_gap=True), "GAP_BEFORE"),
        (QUOTE, ""),
        (replace(QUOTE, bid_price=NAN), "NOT_FINITE"),
        (replace(QUOTE, ask_size=INFINITY), "NOT_FINITE"),
        (replace(QUOTE, bid_price=0.0), "NOT_POSITIVE"),
        (replace(QUOTE, bid_size=-1.0), "NOT_POSITIVE"),
        (replace(QUOTE, ask_price=1e300), "OUT_OF_RANGE"),
        (replace(QUOTE, ask_size=1e300), "OUT_OF_RANGE"),
        (replace(QUOTE, bid_price=101.0, ask_price=99.0), "CROSSED_QUOTE"),
        (replace(QUOTE, bid_price=100.0, ask_price=100.0), ""),
    ],
)
def test_what_passes_and_what_is_refused(raw: RawTrade | RawQuote, expected: str) -> None:
    assert code(Gate(Limits()).judge(raw, None)) == expected


def test_a_live_tick_may_be_a_little_ahead_of_the_clock_but_not_more() -> None:
    limits = Limits(ahead_ns_max=5 * SECOND)
    near, far = (replace(TRADE, ts_event_ns=NOW + after) for after in (5 * SECOND, 5 * SECOND + 1))
    assert code(Gate(limits).judge(near, NOW)) == ""
    assert code(Gate(limits).judge(far, NOW)) == "FUTURE_TIMESTAMP"
    assert code(Gate(limits).judge(far, None)) == ""


def test_a_live_tick_older_than_the_limit_is_stale() -> None:
    limits = Limits(age_ns_max=10 * SECOND)
    assert code(Gate(limits).judge(TRADE, NOW + 10 * SECOND)) == ""
    assert code(Gate(limits).judge(TRADE, NOW + 10 * SECOND + 1)) == "STALE"


def test_a_trade_id_that_came_before_is_a_duplicate_and_equal_trades_without_id_are_not() -> None:
    gate = Gate(Limits())
    first = replace(TRADE, trade_id="7")
    assert [code(gate.judge(raw, None)) for raw in (first, first)] == ["", "DUPLICATE"]
    assert [code(gate.judge(raw, None)) for raw in (TRADE, TRADE)] == ["", ""]


def test_a_trade_id_known_from_before_a_restart_is_a_duplicate() -> None:
    gate = Gate(Limits())
    gate.know("A.X", ("7",), NOW)
    assert code(gate.judge(replace(TRADE, trade_id="7"), None)) == "DUPLICATE"
    assert code(gate.judge(replace(TRADE, trade_id="8"), None)) == ""


def test_the_same_quote_at_the_same_time_is_a_duplicate_and_a_moment_later_is_not() -> None:
    gate = Gate(Limits())
    later = replace(QUOTE, ts_event_ns=NOW + 1)
    assert [code(gate.judge(raw, None)) for raw in (QUOTE, QUOTE, later)] == ["", "DUPLICATE", ""]


def test_a_tick_a_little_out_of_order_is_flagged_and_one_far_behind_is_refused() -> None:
    gate = Gate(Limits(disorder_ns_max=5 * SECOND))
    assert gate.judge(TRADE, None) == ()
    late = [replace(TRADE, ts_event_ns=NOW - back) for back in (1, 5 * SECOND, 5 * SECOND + 1)]
    codes = [code(gate.judge(raw, None)) for raw in late]
    assert codes == ["OUT_OF_ORDER", "OUT_OF_ORDER", "OUT_OF_ORDER"]
    assert isinstance(gate.judge(late[2], None), Refusal)
    assert not isinstance(gate.judge(late[1], None), Refusal)


def test_one_time_stamp_far_ahead_is_refused_and_does_not_make_the_rest_late() -> None:
    gate = warm()
    wrong = replace(TRADE, ts_event_ns=NOW + 400 * 86_400 * SECOND)
    assert code(gate.judge(wrong, None)) == "FUTURE_TIMESTAMP"
    assert code(gate.judge(TRADE, None)) == ""


def test_a_real_hole_in_the_data_is_accepted_with_its_second_tick() -> None:
    gate = warm()
    after = [replace(TRADE, ts_event_ns=NOW + 400 * 86_400 * SECOND + step) for step in (0, 1, 2)]
    assert [code(gate.judge(raw, None)) for raw in after] == ["FUTURE_TIMESTAMP", "", ""]


def test_silence_longer_than_the_limit_is_a_gap() -> None:
    gate = Gate(Limits(silence_ns_max=60 * SECOND))
    ticks = [replace(TRADE, ts_event_ns=NOW + after * SECOND) for after in (0, 60, 121)]
    assert [code(gate.judge(raw, None)) for raw in ticks] == ["", "", "GAP_BEFORE"]


def test_a_price_that_stays_too_long_over_many_ticks_is_stale() -> None:
    gate = Gate(Limits(frozen_ns_max=60 * SECOND, frozen_ticks_min=3))
    ticks = [replace(TRADE, ts_event_ns=NOW + after * SECOND) for after in (0, 1, 60, 61)]
    moved = replace(ticks[-1], price=100.5)
    assert [code(gate.judge(raw, None)) for raw in (*ticks, moved)] == ["", "", "", "STALE", ""]


@pytest.mark.parametrize(
    ("price", "expected"),
    [(101.9, ""), (102.1, "SPIKE"), (98.1, ""), (97.9, "SPIKE"), (299.0, "SPIKE"), (34.0, "SPIKE")],
)
def test_a_price_beyond_the_robust_deviations_is_flagged(price: float, expected: str) -> None:
    gate = warm(Limits(spike_deviations=10.0, spike_floor=0.002))
    verdict = gate.judge(replace(TRADE, price=price), None)
    assert not isinstance(verdict, Refusal)
    assert code(verdict) == expected


def test_an_absurd_price_is_refused_and_the_market_goes_on() -> None:
    gate = warm()
    absurd = gate.judge(replace(TRADE, price=301.0), None)
    assert isinstance(absurd, Refusal)
    assert absurd.code == "SPIKE"
    assert gate.judge(TRADE, None) == ()


def test_an_absurd_level_that_several_ticks_confirm_is_accepted() -> None:
    gate = warm(Limits(confirmations=3))
    prices = (500.0, 501.0, 502.0, 501.0)
    verdicts = [gate.judge(replace(TRADE, price=price), None) for price in prices]
    assert [isinstance(verdict, Refusal) for verdict in verdicts] == [True, True, False, False]


def test_absurd_prices_that_disagree_confirm_nothing() -> None:
    gate = warm(Limits(confirmations=3))
    prices = (500.0, 20.0, 600.0, 15.0, 700.0)
    assert all(
        isinstance(gate.judge(replace(TRADE, price=price), None), Refusal) for price in prices
    )


def test_trades_and_quotes_of_an_instrument_are_judged_apart() -> None:
    gate = warm()
    old_quote = replace(QUOTE, ts_event_ns=NOW - 20 * SECOND)
    assert gate.judge(old_quote, None) == ()


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (RawMacro(series="VIX", value=15.0, ts_event_ns=NOW + 1), ""),
        (RawMacro(series="VIX", value=-0.5, ts_event_ns=NOW + 1), ""),
        (RawMacro(series="VIX", value=14.0, ts_event_ns=NOW), "DUPLICATE"),
        (RawMacro(series="VIX", value=15.0, ts_event_ns=NOW), "OUT_OF_ORDER"),
        (RawMacro(series="CPI", value=14.0, ts_event_ns=NOW), ""),
        (RawMacro(series="VIX", value=NAN, ts_event_ns=NOW + 1), "NOT_FINITE"),
        (RawMacro(series="VIX", value=1e300, ts_event_ns=NOW + 1), "OUT_OF_RANGE"),
        (RawMacro(series="VIX", value=1.0, ts_event_ns=-5), "BAD_TIMESTAMP"),
        (RawMacro(series="VIX", value=1.0, ts_event_ns=2 * NOW), "FUTURE_TIMESTAMP"),
    ],
)
def test_macro_readings(second: RawMacro, expected: str) -> None:
    gate = Gate(Limits())
    assert gate.judge_macro(RawMacro(series="VIX", value=14.0, ts_event_ns=NOW), None) == ()
    assert code(gate.judge_macro(second, None)) == expected


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, numbers, st.integers(-(2**70), 2**70)), max_size=30))
def test_nothing_that_cannot_be_a_price_passes_whatever_comes(
    rows: list[tuple[float, float, int]],
) -> None:
    gate = Gate(Limits())
    for price, size, ts_ns in rows:
        raw = replace(TRADE, price=price, size=size, ts_event_ns=ts_ns)
        if not isinstance(gate.judge(raw, None), Refusal):
            assert 0 < price <= 1e12
            assert 0 < size <= 1e15
            assert 0 <= ts_ns < 2**63
        quote = replace(QUOTE, bid_price=price, ask_price=size, ts_event_ns=ts_ns)
        if not isinstance(gate.judge(quote, None), Refusal):
            assert 0 < price <= size <= 1e12


def test_of_many_trade_ids_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "TRADE_IDS_KEPT", 2)
    gate = Gate(Limits())
    gate.know("A.X", ("1", "2", "3"), NOW)
    found = [code(gate.judge(replace(TRADE, trade_id=name), None)) for name in ("3", "2", "1")]
    assert found == ["DUPLICATE", "DUPLICATE", ""]
