"""Every assumption of the paper venue is told, with what switches it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from execution_samples import account, dec, instrument, venue

from tapeline.contracts.config import (
    AssetClass,
    FeeTier,
    Instrument,
    MissingInputRule,
    QueueRule,
    Venue,
)
from tapeline.execution.venues.assumptions import Assumption, assumptions_of

TIER = FeeTier(
    notional_min=dec(1_000_000), maker_fee_rate=dec(0), taker_fee_rate=dec("0.0004000000")
)


def told(name: str, of: Venue, *instruments: Instrument) -> Assumption:
    (found,) = (one for one in assumptions_of(of, instruments, account()) if one.name == name)
    return found


@pytest.mark.parametrize(
    ("name", "changes", "value", "is_on"),
    [
        ("spread", {}, "0.1 %", True),
        ("spread", {"half_spread_rate": dec(0)}, "0 %", False),
        ("depth", {}, "best price for all", False),
        ("depth", {"participation_max": dec("0.1")}, "as displayed", True),
        ("gap through stops", {}, "price of the tick", True),
        ("gap through stops", {"is_stop_gapped": False}, "stop price", False),
        ("participation", {}, "no limit", False),
        ("participation", {"participation_max": dec("0.1")}, "10 % of a tick's size", True),
        ("own size", {"participation_max": dec(1)}, "consumed", True),
        ("own size", {}, "refilled at every tick", False),
        ("queue", {}, "THROUGH", True),
        ("queue", {"queue_rule": QueueRule.TOUCH}, "TOUCH", False),
        ("impact", {}, "none", False),
        (
            "impact",
            {"impact_rate": dec("0.01")},
            "1 % x sqrt(taken / displayed size)",
            True,
        ),
        ("latency", {}, "0 ms", False),
        (
            "latency",
            {"latency_ns": 2_500_000, "latency_jitter_ns": 1_000_000},
            "2.5 ms and up to 1 ms more",
            True,
        ),
        ("fees", {}, "maker 0.01 %, taker 0.05 %", True),
        ("fee tiers", {}, "none", False),
        ("fee tiers", {"fee_tiers": (TIER,)}, "from 1000000: maker 0 %, taker 0.04 %", True),
        ("borrow", {"borrow_rate": None}, "SPY.ARCA not known", False),
        ("borrow", {"borrow_rate": dec("0.03")}, "SPY.ARCA 3 %", True),
        ("funding", {}, "no perpetual contract", False),
        ("halts and price limits", {}, "none configured", False),
        ("missing input", {}, "named by an incident, left out", True),
        (
            "missing input",
            {"missing_input_rule": MissingInputRule.REJECT},
            "orders are rejected",
            True,
        ),
    ],
)
def test_each_assumption_says_its_value(
    name: str, changes: dict[str, Any], value: str, is_on: bool
) -> None:
    found = told(name, venue(**changes), instrument())
    assert (found.value, found.is_on) == (value, is_on)


def test_what_concerns_instruments_names_them() -> None:
    perpetual = instrument(asset_class=AssetClass.CRYPTO_PERPETUAL, is_halted=True)
    assert told("funding", venue(), perpetual).value == "charged: SPY.ARCA"
    limited = instrument(limit_up_price=dec("105.50"))
    said = told("halts and price limits", venue(), perpetual, limited)
    assert said.value == "SPY.ARCA halted, SPY.ARCA - to 105.5"


def test_every_field_by_which_paper_imitates_a_venue_is_told() -> None:
    switches = " ".join(one.switch for one in assumptions_of(venue(), (instrument(),), account()))
    about_the_venue_itself = {
        "venue",
        "adapter",
        "version",
        "receive_window_ns",
        "requests_per_s",
        "address",
    }
    fields = {field.name for field in dataclasses.fields(Venue)} - about_the_venue_itself
    assert [name for name in sorted(fields) if f"venue.{name}" not in switches] == []
