"""The LLM group: a cycle of signals in, target weights out, through a graph of language models.

In:  a Cycle; answers of a model over HTTP, recorded on `llm-calls` before they are used.
Out: TARGET_WEIGHT decisions, and the discussion that led to them.
Invariants:
- whatever the model says, a decision is about an instrument of the group's config record and its
  weight is within target_weight x the regime's multiplier;
- a failure of any member or the end of the deadline means HOLD: no decision;
- with the same recorded answers a cycle gives the same bytes.

Without an endpoint in its setup the group is a replay of itself:
it takes what the call log has and nothing else.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from tapeline.agents.group import (
    Cycle,
    GroupResult,
    GroupSetup,
    TargetWish,
    target_decision,
)
from tapeline.agents.llm.answers import PortfolioAnswer, Weight, round_weight_down
from tapeline.agents.llm.calls import Answers, LiveAnswers, Pause, RecordedAnswers
from tapeline.agents.llm.client import ChatClient
from tapeline.agents.llm.discussion import is_offline, messages_of, why_held
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.figures import market_view, opinions_on, reference_price
from tapeline.agents.llm.graph import (
    PORTFOLIO_MANAGER,
    CycleRun,
    Results,
    make_graph,
    run_graph,
)
from tapeline.agents.llm.masking import NO_MASK, mask_of
from tapeline.agents.plugins import converted
from tapeline.runtime.clock import SYSTEM, Clock

REASON_MAX_CHARACTERS: Final = 300
DATE: Final = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmParameters:
    """Parameters of the config record."""

    model: str = ""
    """asked instead of the settings' model"""
    band: Decimal = Decimal("0.001")
    """smallest change of a weight that is asked for, share of NAV; closing is always asked for"""
    allows_short: bool = True
    """false: no negative weights"""
    cycle_interval_ns: int = 0
    """read by the stage"""
    is_masked: bool = False
    """true: the model sees neither names nor dates nor price levels (masking.py)"""
    knowledge_cutoff: str = ""
    """YYYY-MM-DD up to which the model has read; decisions before it are warned of in reports"""

    def __post_init__(self) -> None:
        if self.knowledge_cutoff and not DATE.match(self.knowledge_cutoff):
            raise ValueError("knowledge_cutoff must be a date such as 2024-06-30")
        if not (self.band.is_finite() and 0 <= self.band <= 1):
            raise ValueError("band must be from 0 to 1")


class LlmGroup:
    """A Group of tapeline.agents.group."""

    def __init__(
        self, setup: GroupSetup, *, clock: Clock = SYSTEM, pause: Pause = asyncio.sleep
    ) -> None:
        """Raises ValueError or BadConfig for parameters that are wrong."""
        self._setup = setup
        subject = f"Group {setup.group.group_id}"
        values = converted(LlmParameters, setup.group.parameters, (), subject)
        self._parameters = LlmParameters(**values)
        self._endpoint = _endpoint(setup, self._parameters)
        self._client = None if self._endpoint is None else ChatClient(self._endpoint)
        self._graph = make_graph()
        names = setup.group.instruments
        self._mask = mask_of(setup.run_id, names) if self._parameters.is_masked else NO_MASK
        self._clock = clock
        self._pause = pause

    async def decide(self, cycle: Cycle) -> GroupResult:
        """Decisions of a cycle, none where the group holds; raises what the call log raises, and
        ReplayError where a replay cannot follow."""
        instruments = self._asked_about(cycle)
        if not instruments:
            return GroupResult()
        run = await self._run(cycle, instruments)
        results = await run_graph(self._graph, run)
        manager = results.get(PORTFOLIO_MANAGER)
        answer = None if manager is None else manager.answer
        if not isinstance(answer, PortfolioAnswer):
            return GroupResult(messages=messages_of(run, results, why_held(run, results)))
        wishes = self._wishes(run, results, answer)
        decisions = tuple(
            target_decision(self._setup, cycle, index, wish) for index, wish in enumerate(wishes)
        )
        outcome = f"{len(decisions)} weights change." if decisions else "HOLD: no weight changes."
        return GroupResult(decisions=decisions, messages=messages_of(run, results, outcome))

    async def close(self) -> None:
        """Closes the connections to the model."""
        if self._client is not None:
            await self._client.close()

    def _asked_about(self, cycle: Cycle) -> tuple[str, ...]:
        """Permitted instruments with an opinion; none where nothing is new."""
        if not cycle.signals:
            return ()
        return tuple(
            instrument_id
            for instrument_id in self._setup.group.instruments
            if instrument_id and opinions_on(cycle, instrument_id)
        )

    async def _run(self, cycle: Cycle, instruments: tuple[str, ...]) -> CycleRun:
        view = market_view(cycle)
        cap = min(self._setup.group.target_weight * view.risk_multiplier, Decimal(1))
        weight_max = round_weight_down(max(cap, Decimal(0)))
        return CycleRun(
            run_id=self._setup.run_id,
            cycle=cycle,
            instruments=instruments,
            view=view,
            weight_min=-weight_max if self._parameters.allows_short else Decimal(0),
            weight_max=weight_max,
            answers=await self._answers(cycle),
            mask=self._mask,
        )

    async def _answers(self, cycle: Cycle) -> Answers:
        log = self._setup.call_log
        recorded = () if log is None else await log.recorded(cycle.group_id, cycle.cycle_ns)
        if self._client is None or self._endpoint is None:
            return RecordedAnswers(recorded)
        return LiveAnswers(
            client=self._client,
            endpoint=self._endpoint,
            log=log,
            recorded=recorded,
            clock=self._clock,
            pause=self._pause,
        )

    def _wishes(self, run: CycleRun, results: Results, answer: PortfolioAnswer) -> list[TargetWish]:
        by_instrument = {weight.instrument_id: weight for weight in answer.weights}
        in_order = [by_instrument[instrument_id] for instrument_id in run.instruments]
        changed = [weight for weight in in_order if self._is_change(run.cycle, weight)]
        return [_wish(run, results, weight) for weight in changed]

    def _is_change(self, cycle: Cycle, weight: Weight) -> bool:
        before = cycle.targets.get(weight.instrument_id, Decimal(0))
        wanted = round_weight_down(weight.target_weight)
        if wanted == before:
            return False
        return wanted == 0 or abs(wanted - before) > self._parameters.band


def _endpoint(setup: GroupSetup, parameters: LlmParameters) -> Endpoint | None:
    if setup.llm is None or not parameters.model:
        return setup.llm
    return replace(setup.llm, model=parameters.model)


def _wish(run: CycleRun, results: Results, weight: Weight) -> TargetWish:
    regime = run.view.regime.value
    return TargetWish(
        instrument_id=weight.instrument_id,
        target_weight=round_weight_down(weight.target_weight),
        confidence=float(weight.confidence),
        reference_price=reference_price(opinions_on(run.cycle, weight.instrument_id)),
        reason=f"{regime}: {weight.reason}"[:REASON_MAX_CHARACTERS],
        model=results[PORTFOLIO_MANAGER].calls[-1].model,
        is_offline_model=is_offline(results),
    )
