"""A run's tables say what the simulator took for granted."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from test_recorded_equity import BTC

from tapeline.backtest.assumed import assumed
from tapeline.contracts.config import Account, AssetClass, Venue
from tapeline.contracts.orders import Mode

VENUE = Venue(
    venue=BTC.venue,
    adapter="paper",
    maker_fee_rate=Decimal(0),
    taker_fee_rate=Decimal("0.001"),
    half_spread_rate=Decimal(0),
    latency_ns=0,
    participation_max=Decimal(0),
    borrow_rate=Decimal("0.1"),
    version=1,
)
SPOT = replace(BTC, asset_class=AssetClass.CRYPTO)
ACCOUNT = Account(
    account_id="A",
    shard=0,
    base_currency="USD",
    initial_cash=Decimal(1),
    venue=BTC.venue,
    mode=Mode.PAPER,
    version=1,
)


def test_a_run_at_one_venue_tells_each_assumption_with_its_switch() -> None:
    found = {one.name: one for one in assumed([VENUE, SPOT, ACCOUNT, "something else"])}
    assert found["fees"].value == "maker 0 %, taker 0.1 %"
    assert found["fees"].meaning.endswith("(venue.maker_fee_rate, venue.taker_fee_rate)")
    assert (found["borrow"].value, found["borrow"].is_on) == (f"{BTC.instrument_id} 10 %", True)
    assert not found["spread"].is_on
    assert len(found) == 14


def test_venues_are_told_apart_and_those_without_an_account_are_left_out() -> None:
    other, unused = replace(VENUE, venue="OTHER"), replace(VENUE, venue="UNUSED")
    accounts = [ACCOUNT, replace(ACCOUNT, account_id="B", venue="OTHER")]
    names = [one.name for one in assumed([VENUE, other, unused, BTC, *accounts])]
    assert f"{BTC.venue} fees" in names
    assert "OTHER fees" in names
    assert len(names) == 28
    assert {one.name for one in assumed([unused])} >= {"fees", "queue"}
