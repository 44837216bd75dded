"""The group that holds a fixed quantity on one side or the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tapeline.agents.flip import FlipGroup
from tapeline.agents.group import Cycle, GroupSetup
from tapeline.agents.plugins import BadConfig
from tapeline.contracts.agents import Direction, Signal
from tapeline.contracts.config import Account, GroupKind, TradingGroup
from tapeline.contracts.orders import Mode, Side

LONG, SHORT, FLAT = Direction.LONG, Direction.SHORT, Direction.FLAT
ACCOUNT = Account(
    account_id="PAPER-1",
    shard=0,
    base_currency="USD",
    initial_cash=Decimal(1000),
    venue="PAPER",
    mode=Mode.PAPER,
    version=1,
)
GROUP = TradingGroup(
    group_id="flip",
    kind=GroupKind.ALGORITHMIC,
    implementation="flip",
    account_id="PAPER-1",
    universe="all",
    instruments=("X.SIM",),
    trigger_weights={"sma": 1.0, "other": 0.5},
    target_weight=Decimal(0),
    parameters={"quantity": "3"},
    is_enabled=True,
    version=1,
)


def group(**parameters: str) -> FlipGroup:
    config = replace(GROUP, parameters={"quantity": "3", **parameters})
    return FlipGroup(GroupSetup(run_id="run-1", group=config, account=ACCOUNT))


def signal(number: int, direction: Direction, **changes: Any) -> Signal:
    values: dict[str, Any] = {
        "signal_id": f"s{number}",
        "trigger": "sma",
        "universe": "all",
        "instrument_id": "X.SIM",
        "direction": direction,
        "confidence": 0.5,
        "expected_return": 0.0,
        "liquidity": 1.0,
        "horizon_ns": 1,
        "price": 10.0,
        "reason": "",
        "features": {},
        "ts_event_ns": number,
        "ts_init_ns": number,
    }
    return Signal(**{**values, **changes})


def orders(directions: list[Direction], **changes: Any) -> list[tuple[int, str, int]]:
    """(cycle, side, quantity) of what a group asks for, its notes handed back each time."""
    flip, targets, found = group(), {}, []
    for number, direction in enumerate(directions):
        said = (signal(number, direction, **changes),)
        cycle = Cycle(
            group_id="flip",
            universe="all",
            cycle_ns=number,
            slice=number,
            signals=said,
            opinions=said,
            targets=dict(targets),
        )
        result = asyncio.run(flip.decide(cycle))
        targets.update(result.noted)
        for decision in result.decisions:
            assert decision.side is not None
            assert decision.quantity is not None
            assert result.causes == {decision.decision_id: f"s{number}"}
            assert decision.is_reduce_only == (direction is FLAT)
            found.append((number, str(decision.side), int(decision.quantity)))
    return found


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        ([LONG, LONG], []),
        ([FLAT, FLAT, SHORT, SHORT], []),
        ([LONG, SHORT, SHORT, LONG], [(1, "SELL", 3), (3, "BUY", 6)]),
        ([SHORT, LONG, FLAT, LONG], [(1, "BUY", 3), (2, "SELL", 3), (3, "BUY", 3)]),
        ([LONG, FLAT, LONG], [(2, "BUY", 3)]),
    ],
)
def test_the_first_side_is_noted_and_each_change_is_one_order(
    directions: list[Direction], expected: list[tuple[int, str, int]]
) -> None:
    assert orders(directions) == expected


def test_other_triggers_and_opinions_on_everything_have_no_say() -> None:
    assert orders([LONG, SHORT], trigger="other") == []
    assert orders([LONG, SHORT], instrument_id="") == []


def test_a_decision_is_whole_and_derived() -> None:
    assert Side.BUY.value == "BUY"
    first, second = group(), group()
    said = (signal(7, SHORT),)
    targets = {"X.SIM": Decimal(3), "X.SIM/side": Decimal(1)}
    cycle = Cycle(
        group_id="flip",
        universe="all",
        cycle_ns=7,
        slice=1,
        signals=said,
        opinions=said,
        targets=targets,
    )
    assert first.result_of(cycle) == second.result_of(cycle)
    (decision,) = first.result_of(cycle).decisions
    assert (decision.quantity, decision.confidence, decision.reference_price) == (6, 1.0, 10.0)
    assert decision.reason == "sma has turned short."


def test_a_quantity_is_needed_and_above_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        group(quantity="0")
    with pytest.raises(BadConfig, match="quantity is 'much'"):
        group(quantity="much")
    with pytest.raises(ValueError, match="missing"):
        FlipGroup(GroupSetup(run_id="r", group=replace(GROUP, parameters={}), account=ACCOUNT))
