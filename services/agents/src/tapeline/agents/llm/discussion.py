"""What the members of the group said in a cycle, as records of the topic `discussions`. Pure.

The order is that of the nodes: tasks, then results or errors, then how the cycle ended. Times and
latencies are not in the text, so a repeated cycle says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tapeline.agents.group import instance_of
from tapeline.agents.llm.answers import (
    AnalystAnswer,
    Answer,
    EconomistAnswer,
    PortfolioAnswer,
)
from tapeline.agents.llm.conversation import NodeResult
from tapeline.agents.llm.graph import ECONOMIST, PORTFOLIO_MANAGER, CycleRun, Results
from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.contracts.agents import AgentMessage, MessageType
from tapeline.runtime.ids import derive_id

COORDINATOR: Final = "coordinator"
RISK: Final = "risk"
CONTENT_MAX_CHARACTERS: Final = 4000
OFFLINE_NOTE: Final = f" [offline model {OFFLINE_MODEL}: written rules]"

Said = tuple[str, str, MessageType, str]
"""sender, recipient, type, content"""


def is_offline(results: Results) -> bool:
    """Whether the offline model took part."""
    return any(call.is_offline_model for result in results.values() for call in result.calls)


def messages_of(run: CycleRun, results: Results, outcome: str) -> tuple[AgentMessage, ...]:
    """The cycle's messages; `outcome` is how it ended, in one sentence."""
    has_offline_model = is_offline(results)
    said = [*_said(run, results), (COORDINATOR, RISK, MessageType.STATUS, outcome)]
    return tuple(_message(run, index, line, has_offline_model) for index, line in enumerate(said))


def why_held(run: CycleRun, results: Results) -> str:
    """Why the group holds: the nodes without an answer, in their order."""
    failed = [result for result in _in_order(run, results) if result.answer is None]
    return "HOLD: " + "; ".join(f"{result.node}: {result.failure}" for result in failed)


def _said(run: CycleRun, results: Results) -> Iterator[Said]:
    for instrument_id, node in zip(run.instruments, run.first_nodes, strict=False):
        yield COORDINATOR, node, MessageType.TASK, f"Judge {instrument_id}."
    yield COORDINATOR, ECONOMIST, MessageType.TASK, f"Comment on the regime {_regime(run)}."
    for result in _in_order(run, results):
        recipient = COORDINATOR if result.node == PORTFOLIO_MANAGER else PORTFOLIO_MANAGER
        if result.answer is None:
            yield result.node, COORDINATOR, MessageType.ERROR, result.failure
        else:
            yield result.node, recipient, MessageType.RESULT, _worded(run, result.answer)


def _in_order(run: CycleRun, results: Results) -> list[NodeResult]:
    order = (*run.first_nodes, PORTFOLIO_MANAGER)
    return [results[node] for node in order if node in results]


def _regime(run: CycleRun) -> str:
    return f"{run.view.regime.value} (weights times {run.view.risk_multiplier})"


def _worded(run: CycleRun, answer: Answer) -> str:
    if isinstance(answer, AnalystAnswer):
        reasons = " ".join(answer.reasons)
        return f"Stance {answer.stance} at confidence {answer.confidence}. {reasons}"
    if isinstance(answer, EconomistAnswer):
        return f"{_disagreement(run, answer)}{answer.comment}"
    assert isinstance(answer, PortfolioAnswer)
    weights = ", ".join(f"{w.instrument_id} {w.target_weight}" for w in answer.weights)
    return f"Weights: {weights or 'none'}. {answer.comment}"


def _disagreement(run: CycleRun, answer: EconomistAnswer) -> str:
    if answer.regime == run.view.regime.value:
        return f"Regime {_regime(run)} by the rule. "
    return f"The rule's regime {_regime(run)} stands; the model would say {answer.regime}. "


def _message(run: CycleRun, index: int, said: Said, has_offline_model: bool) -> AgentMessage:
    sender, recipient, kind, content = said
    cycle = run.cycle
    note = OFFLINE_NOTE if has_offline_model else ""
    return AgentMessage(
        message_id=derive_id(
            run.run_id, instance_of(cycle.group_id), cycle.cause_id, "AgentMessage", index
        ),
        group_id=cycle.group_id,
        cycle_ns=cycle.cycle_ns,
        sender=sender,
        recipient=recipient,
        type=kind,
        content=content[:CONTENT_MAX_CHARACTERS] + note,
        is_offline_model=has_offline_model,
        ts_event_ns=cycle.cycle_ns,
        ts_init_ns=cycle.cycle_ns,
    )
