"""One node's conversation with the model: ask, retry or repair, until done or given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from tapeline.agents.group import Cycle
from tapeline.agents.llm import prompts
from tapeline.agents.llm.answers import Answer, Invalid, Parse
from tapeline.agents.llm.attempts import Ask, Done, Stop, next_move
from tapeline.agents.llm.calls import Answers, Question, is_too_large
from tapeline.agents.llm.prompts import Messages
from tapeline.contracts.agents import LlmCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a node has to find out."""

    node: str
    """analyst/<instrument_id>, economist or portfolio_manager"""
    messages: Messages
    parse: Parse


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """What came of it."""

    node: str
    calls: tuple[LlmCall, ...]
    """in order of attempt"""
    answer: Answer | None = None
    failure: str = ""
    """CODE: sentence, where there is no answer"""


async def converse(run_id: str, cycle: Cycle, task: Task, answers: Answers) -> NodeResult:
    """Asks until there is an answer that can be used, or none to be had."""
    calls: list[LlmCall] = []

    def ended(answer: Answer | None, failure: str = "") -> NodeResult:
        return NodeResult(node=task.node, calls=tuple(calls), answer=answer, failure=failure)

    while True:
        move = next_move(calls)
        match move:
            case Ask():
                messages = _prompt(task, move)
                if is_too_large(messages):
                    return ended(None, "PROMPT_TOO_LARGE: the prompt does not fit its record")
                question = Question(
                    run_id=run_id,
                    cycle=cycle,
                    node=task.node,
                    move=move,
                    messages=messages,
                    parse=task.parse,
                )
                calls.append(await answers.answer(question))
            case Done():
                return _read(task, move.call, ended)
            case Stop():
                return ended(None, move.reason)
            case _:
                assert_never(move)


def _prompt(task: Task, move: Ask) -> Messages:
    if move.repair is None:
        return task.messages
    return prompts.ask_again(task.messages, move.repair.response, move.repair.error)


def _read(task: Task, call: LlmCall, ended: Callable[..., NodeResult]) -> NodeResult:
    answer = task.parse(call.response)
    if isinstance(answer, Invalid):
        # Recorded as usable by a build with other rules.
        return ended(None, f"INVALID: {answer.reason}")
    return ended(answer)
