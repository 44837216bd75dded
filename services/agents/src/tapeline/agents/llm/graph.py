"""The group as a LangGraph graph.

            ┌─ analyst (one an instrument) ─┐
    START ──┤                               ├─ coordinator ─┬─ portfolio_manager ── END
            └─ economist ───────────────────┘               └─ END where someone has no answer

The analysts and the economist run in parallel, so a cycle costs two calls one after the other.
Results are kept by node name and read in the order of the instruments, never in that of arrival.
LangGraph's own tracing to a cloud service is off whatever the environment says.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send
from langsmith.run_helpers import tracing_context

from tapeline.agents.group import Cycle
from tapeline.agents.llm import answers as permitted
from tapeline.agents.llm import figures, prompts
from tapeline.agents.llm.answers import AnalystAnswer
from tapeline.agents.llm.calls import Answers
from tapeline.agents.llm.conversation import NodeResult, Task, converse
from tapeline.agents.llm.figures import MarketView
from tapeline.agents.llm.masking import NO_MASK, Mask

ECONOMIST: Final = "economist"
PORTFOLIO_MANAGER: Final = "portfolio_manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRun:
    """What the nodes of one cycle work with."""

    run_id: str
    cycle: Cycle
    instruments: tuple[str, ...]
    """those asked about, in the order of the group's config record"""
    view: MarketView
    weight_min: Decimal
    weight_max: Decimal
    answers: Answers
    mask: Mask = NO_MASK
    """what the model shall not recognise"""

    @property
    def first_nodes(self) -> tuple[str, ...]:
        """Nodes that run in parallel, in the order in which their results are read."""
        return (*(analyst_of(instrument_id) for instrument_id in self.instruments), ECONOMIST)


Results: TypeAlias = dict[str, NodeResult]


def _merged(left: Results, right: Results) -> Results:
    return {**left, **right}


class State(TypedDict):
    """What the graph passes on."""

    results: Annotated[Results, _merged]
    """by node"""


class Assignment(TypedDict):
    """What an analyst is sent."""

    instrument_id: str


Graph: TypeAlias = CompiledStateGraph[State, CycleRun, State, State]


def analyst_of(instrument_id: str) -> str:
    """Name of the node that judges an instrument."""
    return f"analyst/{instrument_id}"


def make_graph() -> Graph:
    """The graph; it keeps no state between cycles and serves any group."""
    graph = StateGraph(State, context_schema=CycleRun)
    graph.add_node("analyst", _analyst, input_schema=Assignment)
    graph.add_node(ECONOMIST, _economist)
    graph.add_node("coordinator", _coordinator)
    graph.add_node(PORTFOLIO_MANAGER, _portfolio_manager)
    graph.add_conditional_edges(START, _spread, ["analyst", ECONOMIST])
    graph.add_edge("analyst", "coordinator")
    graph.add_edge(ECONOMIST, "coordinator")
    graph.add_conditional_edges("coordinator", _next, [PORTFOLIO_MANAGER, END])
    graph.add_edge(PORTFOLIO_MANAGER, END)
    return graph.compile()


async def run_graph(graph: Graph, run: CycleRun) -> Results:
    """Results of one cycle by node; without the portfolio manager where a node has no answer."""
    with tracing_context(enabled=False):
        final = await graph.ainvoke({"results": {}}, context=run)
    results: Results = final["results"]
    return results


def has_all_answers(results: Results) -> bool:
    """Whether no node failed."""
    return all(result.answer is not None for result in results.values())


async def _spread(state: State, runtime: Runtime[CycleRun]) -> list[Send]:
    asked = runtime.context.instruments
    return [
        *(Send("analyst", Assignment(instrument_id=instrument_id)) for instrument_id in asked),
        Send(ECONOMIST, state),
    ]


async def _analyst(state: Assignment, runtime: Runtime[CycleRun]) -> dict[str, Any]:
    run, instrument_id = runtime.context, state["instrument_id"]
    given = figures.analyst_figures(run.cycle, instrument_id)
    task = Task(
        node=analyst_of(instrument_id),
        messages=prompts.ask("analyst", run.mask.masked(given, run.cycle)),
        parse=run.mask.parser(permitted.analyst_parser(run.mask.name(instrument_id))),
    )
    return await _result(run, task)


async def _economist(state: State, runtime: Runtime[CycleRun]) -> dict[str, Any]:  # noqa: ARG001 - LangGraph names it
    run = runtime.context
    given = figures.economist_figures(run.cycle, run.view)
    task = Task(
        node=ECONOMIST,
        messages=prompts.ask("economist", run.mask.masked(given, run.cycle)),
        parse=permitted.parse_economist,
    )
    return await _result(run, task)


async def _coordinator(state: State) -> dict[str, Any]:  # noqa: ARG001 - LangGraph names it
    """Waits for all; the way on is `_next`."""
    return {}


async def _next(state: State) -> str:
    return PORTFOLIO_MANAGER if has_all_answers(state["results"]) else END


async def _portfolio_manager(state: State, runtime: Runtime[CycleRun]) -> dict[str, Any]:
    run, results = runtime.context, state["results"]
    reports = [results[analyst_of(instrument_id)].answer for instrument_id in run.instruments]
    limits = (run.weight_min, run.weight_max)
    given = figures.portfolio_figures(
        run.cycle,
        run.view,
        limits,
        [report for report in reports if isinstance(report, AnalystAnswer)],
    )
    task = Task(
        node=PORTFOLIO_MANAGER,
        messages=prompts.ask("portfolio_manager", run.mask.masked(given, run.cycle)),
        parse=run.mask.parser(
            permitted.portfolio_parser([run.mask.name(name) for name in run.instruments], *limits)
        ),
    )
    return await _result(run, task)


async def _result(run: CycleRun, task: Task) -> dict[str, Any]:
    result = await converse(run.run_id, run.cycle, task, run.answers)
    return {"results": {task.node: result}}
