"""The short run in one process, without Kafka, with an operator in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

from proving.playing import END, PRESET, START
from tapeline.backtest.paced.interventions import Intervention, Word
from tapeline.backtest.paced.run import PacedRun, run_paced
from tapeline.cli.backtests import Asked, preset_source
from tapeline.cli.commands.act import manual_decision
from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.control import ScopeKind, SetTradingState
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import TradingState
from tapeline.runtime.core import Input

DAY_NS = 86_400_000_000_000
FIRST_NS = 1_388_620_800 * 10**9 + DAY_NS
"""the end of the first slice, 2014-01-02"""
RISK, EXECUTION = "risk/0", "execution/0"


def played(*interventions: Intervention, settles: bool = False, **more: Any) -> PacedRun:
    """The short run with what was said in it."""
    preset = str(PRESET)
    source = preset_source(
        preset, Asked(run_id="one", feed_options=(f"start={START}", f"end={END}"), **more)
    )
    slices: Any = source.slices
    if settles:
        slices.settings = slices.settings.model_copy(update={"slices_settle": True})
    setup = replace(source.setup, interventions=interventions)
    return asyncio.run(run_paced(setup, slices, source.facts))


def at(day: int, record: Any, instance: str = RISK) -> Word:
    """A record heard in the slice that ends so many days behind the first."""
    end_ns = FIRST_NS + day * DAY_NS
    topic = topics.CONTROL if isinstance(record, SetTradingState) else topics.DECISIONS
    event = Input(record=record, topic=topic, partition=0, event_id=f"{topic}{day}{instance}")
    return Word(instance=instance, heard_ns=end_ns - 1, session_ns=end_ns, event=event)


def order(day: int, side: Side, **terms: Any) -> Word:
    """A market order by hand, made at the end of a day."""
    made_ns = FIRST_NS + day * DAY_NS - 1
    plain = manual_decision("one", "PAPER-1", kind=DecisionKind.ORDER)
    decision = replace(
        plain,
        decision_id=f"by hand {day}",
        instrument_id="SP500.US",
        side=side,
        quantity=Decimal(5),
        cycle_ns=made_ns,
        ts_event_ns=made_ns,
        ts_init_ns=made_ns,
        **terms,
    )
    return at(day, decision)


def halt(state: TradingState, sequence: int) -> SetTradingState:
    return SetTradingState(
        scope=ScopeKind.GROUP,
        scope_id="trend",
        state=state,
        sequence=sequence,
        operator="operator",
        reason="to see",
        issued_ns=0,
        run_id="one",
        key_id="operator",
        signature=b"x",
    )
