"""Warnings of models that may have read about what they decide on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tapeline.agents.config_book import book_of
from tapeline.backtest.knowledge import knowledge_warnings
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import GroupKind, TradingGroup
from tapeline.contracts.orders import OrderType, TimeInForce

MAY_2024_NS = 1_714_521_600_000_000_000
DAY_NS = 86_400_000_000_000


def decided(day: int, model: str = "gpt-x", *, is_offline: bool = False) -> Decision:
    """A decision so many days after 1 May 2024."""
    ts_ns = MAY_2024_NS + day * DAY_NS
    return Decision(
        decision_id=f"d{day}",
        account_id="A",
        group_id="committee",
        cycle_ns=ts_ns,
        index=0,
        kind=DecisionKind.TARGET_WEIGHT,
        instrument_id="SPY.ARCA",
        target_weight=Decimal("0.1"),
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        is_reduce_only=False,
        is_post_only=False,
        confidence=1.0,
        reference_price=1.0,
        model=model,
        is_offline_model=is_offline,
        reason="",
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def warned(parameters: dict[str, str], *decisions: Decision) -> tuple[str, ...]:
    """Of one group of language models."""
    group = TradingGroup(
        group_id="committee",
        kind=GroupKind.LLM,
        implementation="llm",
        account_id="A",
        universe="main",
        instruments=("SPY.ARCA",),
        trigger_weights={},
        target_weight=Decimal("0.1"),
        parameters=parameters,
        is_enabled=True,
        version=1,
    )
    return knowledge_warnings(book_of([group]), decisions)


def test_decisions_before_the_cutoff_are_counted() -> None:
    cutoff = {"knowledge_cutoff": "2024-05-03"}
    (text,) = warned(cutoff, decided(0), decided(1), decided(2))
    assert "2 of 3 decisions lie before 2024-05-03" in text
    assert "gpt-x" in text
    assert warned(cutoff, decided(2), decided(9)) == ()


def test_an_unknown_cutoff_is_warned_of_and_the_offline_model_is_not() -> None:
    (text,) = warned({"is_masked": "true"}, decided(0))
    assert "knowledge_cutoff is not given" in text
    assert text.endswith("masked.")
    assert warned({}, decided(0, "offline-rules-1", is_offline=True)) == ()


@pytest.mark.parametrize("model", [""])
def test_a_group_that_asked_nobody_is_not_warned_of(model: str) -> None:
    assert warned({}, decided(0, model)) == ()
