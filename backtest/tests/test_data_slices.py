"""The data of whole runs is looked at before they are played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tapeline.backtest.data_check.findings import DataReport, DataUnfit
from tapeline.backtest.data_check.slices import DISORDER_NS_MAX, check_slices
from tapeline.backtest.paced.run import Facts
from tapeline.backtest.paced.setup import MarketSlice, Setup
from tapeline.cli.backtests import Asked, Source, looked_at
from tapeline.contracts.market import AggressorSide, Quote, TickOrigin, Trade

MINUTE_NS = 60_000_000_000
START_NS = 1_641_168_000_000_000_000


def trade(at: int, price: float, instrument: str = "X.SIM", late_ns: int = 0) -> Trade:
    return Trade(
        instrument_id=instrument,
        feed="test",
        feed_sequence=at,
        trade_id=str(at),
        price=price,
        size=1.0,
        side=AggressorSide.NONE,
        origin=TickOrigin.EXCHANGE,
        ts_event_ns=START_NS + at * MINUTE_NS - late_ns,
        ts_init_ns=START_NS,
        quality=(),
    )


async def sliced(ticks: list[Trade | Quote]) -> AsyncIterator[MarketSlice]:
    """Ten ticks a slice."""
    for number, at in enumerate(range(0, len(ticks), 10), start=1):
        end_ns = START_NS + at * MINUTE_NS
        yield MarketSlice(number=number, end_ns=end_ns, ticks={0: ticks[at : at + 10]})


def checked(ticks: list[Trade | Quote], interval_ns: int = MINUTE_NS) -> DataReport:
    calendars = {"X.SIM": "24/7"}
    return asyncio.run(check_slices(sliced(ticks), calendars, interval_ns, "a run"))


def test_instruments_are_looked_at_apart_over_all_slices() -> None:
    ticks: list[Trade | Quote] = []
    for at in range(60):
        ticks += [trade(at, 100.0 + at % 3), trade(at, 5.0, "Y.SIM")]
    report = checked(ticks)
    assert report.findings == ()
    assert [(one.instrument, one.rows) for one in report.coverage] == [("X.SIM", 60), ("Y.SIM", 60)]


def split() -> list[Trade | Quote]:
    return [trade(at, (100.0 if at < 50 else 50.0) + at % 3 / 10) for at in range(100)]


def source() -> Source:
    setup = Setup(
        run_id="r", config=(), intervals_ns=(MINUTE_NS,), shards=(0,), instrument_partitions=1
    )
    facts = Facts(source="a run", warnings=("said before",))
    return Source(setup=setup, slices=sliced(split()), width_ns=1, facts=facts, data="")


def test_a_split_between_slices_refuses_the_run_unless_accepted() -> None:
    with pytest.raises(DataUnfit, match=r"a run has faults[\s\S]*X\.SIM: SPLIT"):
        looked_at(source(), Asked())
    lines = looked_at(source(), Asked(accept_data_faults=True)).facts.warnings
    assert lines[0] == "said before"
    assert lines[2].startswith("data error: X.SIM: SPLIT")


@pytest.mark.parametrize(("late_ns", "is_fault"), [(0, False), (1, True)])
def test_ticks_may_be_late_as_market_data_lets_them(late_ns: int, is_fault: bool) -> None:
    late = trade(30, 100.0, late_ns=DISORDER_NS_MAX + late_ns)
    ticks: list[Trade | Quote] = [trade(at, 100.0) for at in range(31)]
    report = checked([*ticks, late, *[trade(at, 100.0) for at in range(31, 60)]])
    assert ("OUT_OF_ORDER" in {one.code for one in report.findings}) == is_fault


def test_ticks_of_daily_bars_are_not_silent() -> None:
    daily: list[Trade | Quote] = [trade(at * 1440, 100.0) for at in range(40)]
    assert "GAP" in {one.code for one in checked(daily).findings}
    assert checked(daily, 1440 * MINUTE_NS).findings == ()
