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


def test_the_last_record_of_an_id_counts() -> None:
    """As on the topic config, where what was changed comes behind what it changes."""
    dearer = replace(VENUE, taker_fee_rate=Decimal("0.002"), version=2)
    moved = replace(ACCOUNT, venue="OTHER", version=2)
    other = replace(VENUE, venue="OTHER", borrow_rate=Decimal("0.2"))

    def told(*records: object) -> dict[str, str]:
        return {one.name: one.value for one in assumed(records)}

    assert told(VENUE, dearer, SPOT, ACCOUNT)["fees"] == "maker 0 %, taker 0.2 %"
    assert told(dearer, VENUE, SPOT, ACCOUNT)["fees"] == "maker 0 %, taker 0.1 %"
    assert told(VENUE, other, SPOT, ACCOUNT, moved)["borrow"] == f"{BTC.instrument_id} 20 %"
    assert told(VENUE, other, SPOT, moved, ACCOUNT)["borrow"] == f"{BTC.instrument_id} 10 %"
    one, another = told(VENUE, BTC, ACCOUNT)["borrow"], told(VENUE, SPOT, ACCOUNT)["borrow"]
    assert one != another
    assert told(VENUE, SPOT, BTC, ACCOUNT)["borrow"] == one
    assert told(VENUE, BTC, SPOT, ACCOUNT)["borrow"] == another
