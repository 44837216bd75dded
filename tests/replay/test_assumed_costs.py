"""What the simulator assumes costs what it should in a whole run, and risk books every cent."""

from __future__ import annotations

import polars as pl
import pytest
from proving.playing import END, PRESET, START

from tapeline.backtest.paced.run import PacedRun
from tapeline.cli.backtests import Asked, played_preset

US = "venue.US."


def played(*settings: str) -> PacedRun:
    """Half of the short run with one group, which goes long and short."""
    asked = Asked(
        feed_options=(f"start={START}", f"end={END}"),
        groups=("trend",),
        settings=tuple(US + setting for setting in settings),
        end="2014-04-15",
    )
    return played_preset(str(PRESET), asked, lambda _part: None)


def equity(run: PacedRun) -> float:
    return float(run.tables.description.final_equity)


@pytest.fixture(scope="module")
def plain() -> PacedRun:
    return played()


@pytest.mark.parametrize(
    "without",
    [
        ("half_spread_rate=0",),
        ("taker_fee_rate=0",),
    ],
)
def test_without_a_cost_the_run_ends_with_more(plain: PacedRun, without: tuple[str, ...]) -> None:
    run = played(*without)
    assert equity(run) > equity(plain)
    assert run.tables["fills"].height == plain.tables["fills"].height


def test_impact_costs_and_moves_every_price_against_the_order(plain: PacedRun) -> None:
    run = played("impact_rate=1")
    assert equity(run) < equity(plain)
    prices = (
        plain.tables["fills"]
        .select("side", "price")
        .with_columns(impacted=run.tables["fills"]["price"])
    )
    worse = prices.select(
        pl.when(pl.col("side") == "BUY")
        .then(pl.col("impacted") >= pl.col("price"))
        .otherwise(pl.col("impacted") <= pl.col("price"))
    ).to_series()
    assert worse[:20].all()


def test_borrowing_is_booked_by_risk_as_the_venue_says_it(plain: PacedRun) -> None:
    run = played("borrow_rate=0.1")
    cash = run.tables["cash"].filter(pl.col("kind").str.starts_with("borrow"))
    assert cash.height > 10
    assert (cash["amount"] < 0).all()
    assert equity(run) < equity(plain)
    fills = run.tables["fills"]
    signed = (
        pl.when(pl.col("side") == "BUY").then(pl.col("quantity")).otherwise(-pl.col("quantity"))
    )
    paid = fills.select((signed * pl.col("price") + pl.col("fee")).sum()).item()
    last = run.tables["equity"].filter(pl.col("account_id") == "PAPER-1").sort("ts_event_ns")
    assert last["cash"][-1] == pytest.approx(1_000_000 - paid + cash["amount"].sum(), abs=1e-6)


def test_the_tables_say_what_was_assumed() -> None:
    told = {one.name: one for one in played("borrow_rate=0.1").tables.description.assumptions}
    assert told["borrow"].value == "NASDAQ.US 10 %, SP500.US 10 %"
    assert told["spread"].value == "0.005 %"
    assert "venue.half_spread_rate" in told["spread"].meaning
    assert not told["impact"].is_on
