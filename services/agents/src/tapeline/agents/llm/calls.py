"""Where answers come from: the model itself, recorded before use, or the records alone.

A call's id is derived from (cycle, node, attempt, request digest). `LiveAnswers` gives the recorded
call of that id where there is one and asks otherwise; `RecordedAnswers` never asks.

Errors:
    ReplayError        a recorded run cannot be followed
    ├── AnswerMissing  the run made no such call
    └── PromptChanged  it made the call with another prompt
An error of the call log itself passes through: without the record the answer must not be used.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from tapeline.agents.group import CallLog, Cycle, instance_of
from tapeline.agents.llm.answers import Invalid, Parse
from tapeline.agents.llm.attempts import DEADLINE, Ask
from tapeline.agents.llm.client import ChatClient, Reply
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.prompts import Messages
from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.contracts.agents import CallStatus, LlmCall
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.ids import derive_id

REQUEST_MAX_BYTES: Final = 32 * 1024
Pause = Callable[[float], Awaitable[None]]


class ReplayError(Exception):
    """A recorded run cannot be followed."""

    def __init__(self, question: Question, what: str) -> None:
        self.group_id = question.cycle.group_id
        self.cycle_ns = question.cycle.cycle_ns
        self.node = question.node
        self.attempt = question.move.attempt
        super().__init__(
            f"{what}: group {self.group_id}, cycle {self.cycle_ns}, node {self.node}, "
            f"attempt {self.attempt}"
        )


class AnswerMissing(ReplayError):
    """The recorded run made no such call."""


class PromptChanged(ReplayError):
    """The recorded run made the call with another prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call that a node wants to make."""

    run_id: str
    cycle: Cycle
    node: str
    move: Ask
    messages: Messages
    parse: Parse


class Answers(Protocol):
    """Answers of one cycle."""

    async def answer(self, question: Question) -> LlmCall:
        """The call, recorded; its status says whether its answer can be used."""
        ...


class LiveAnswers:
    """Asks the model, within the cycle's deadline, unless the call is on record."""

    def __init__(
        self,
        *,
        client: ChatClient,
        endpoint: Endpoint,
        log: CallLog | None,
        recorded: Sequence[LlmCall],
        clock: Clock = SYSTEM,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._log = log
        self._recorded = first_by_id(recorded)
        self._clock = clock
        self._pause = pause
        self._end_s = clock.monotonic_s() + endpoint.deadline_s

    async def answer(self, question: Question) -> LlmCall:
        """The recorded call of this id, else a new one that is recorded before it is returned."""
        request = request_of(self._endpoint, question.messages)
        known = self._recorded.get(call_id(question, digest_of(request)))
        if known is not None:
            return known
        start_s = self._clock.monotonic_s()
        reply = await self._ask(request, question.move.pause_s)
        latency_ns = round((self._clock.monotonic_s() - start_s) * 1e9)
        call = _call(question, request, self._endpoint.model, reply, latency_ns)
        # Not under the deadline: giving up here would leave a record that says other than we did.
        if self._log is not None:
            await self._log.record(call)
        return call

    async def _ask(self, request: str, pause_s: float) -> Reply:
        if self._end_s - self._clock.monotonic_s() > pause_s > 0:
            await self._pause(pause_s)
            pause_s = 0.0
        left_s = self._end_s - self._clock.monotonic_s() - pause_s
        if left_s <= 0:
            reason = f"{DEADLINE}: the cycle's {self._endpoint.deadline_s} s are over"
            return Reply(status=CallStatus.TIMEOUT, error=reason)
        return await self._client.ask(request, min(left_s, self._endpoint.call_timeout_s))


class RecordedAnswers:
    """Gives what the recorded run was answered; there is no network behind it.

    Model and parameters are those of the record; only the messages must be ours.
    """

    def __init__(self, recorded: Sequence[LlmCall]) -> None:
        self._recorded = tuple(first_by_id(recorded).values())

    async def answer(self, question: Question) -> LlmCall:
        """The recorded call; raises AnswerMissing or PromptChanged."""
        wanted = (
            question.cycle.group_id,
            question.cycle.cycle_ns,
            question.node,
            question.move.attempt,
        )
        calls = [
            call
            for call in self._recorded
            if (call.group_id, call.cycle_ns, call.node, call.attempt) == wanted
        ]
        for call in calls:
            if digest_of(_with_messages(call.request, question.messages)) == call.request_digest:
                return call
        if calls:
            raise PromptChanged(question, "the prompt is not the one on record")
        raise AnswerMissing(question, "no answer is on record")


class RecordedCallLog:
    """A call log for replay: all calls of a run, in the order of their topic; nothing is added."""

    def __init__(self, calls: Sequence[LlmCall]) -> None:
        self._by_cycle: dict[tuple[str, int], list[LlmCall]] = {}
        for call in first_by_id(calls).values():
            self._by_cycle.setdefault((call.group_id, call.cycle_ns), []).append(call)

    async def record(self, call: LlmCall) -> None:
        """Must not happen: in a replay no call is made."""
        raise AssertionError(f"a replay made call {call.call_id}")

    async def recorded(self, group_id: str, cycle_ns: int) -> Sequence[LlmCall]:
        """Calls of a cycle, oldest first."""
        return self._by_cycle.get((group_id, cycle_ns), [])


def is_too_large(messages: Messages) -> bool:
    """Whether a prompt would not fit into the record of its call."""
    return len(_canonical({}, messages)) > REQUEST_MAX_BYTES


def first_by_id(calls: Sequence[LlmCall]) -> dict[str, LlmCall]:
    """The first record of each id; later ones are repeats, or another process's too late."""
    first: dict[str, LlmCall] = {}
    for call in calls:
        first.setdefault(call.call_id, call)
    return first


def request_of(endpoint: Endpoint, messages: Messages) -> str:
    """The canonical JSON of a request; this text is what is sent."""
    parameters: dict[str, Any] = {
        "model": endpoint.model,
        "max_tokens": endpoint.answer_tokens_max,
        "response_format": {"type": "json_object"},
        "stream": False,
    }
    if endpoint.temperature is not None:
        parameters["temperature"] = endpoint.temperature
    return _canonical(parameters, messages)


def digest_of(request: str) -> str:
    """SHA-256 of a canonical request, hex."""
    return hashlib.sha256(request.encode()).hexdigest()


def call_id(question: Question, digest: str) -> str:
    """Derived id of (cycle, node, attempt, request digest)."""
    instance = f"{instance_of(question.cycle.group_id)}/{question.node}"
    cause = f"{question.cycle.cause_id}/{digest}"
    return derive_id(question.run_id, instance, cause, "LlmCall", question.move.attempt)


def _canonical(parameters: dict[str, Any], messages: Messages) -> str:
    listed = [{"role": role, "content": text} for role, text in messages]
    value = {**parameters, "messages": listed}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _with_messages(request: str, messages: Messages) -> str:
    return _canonical(json.loads(request), messages)


def _call(
    question: Question, request: str, asked_model: str, reply: Reply, latency_ns: int
) -> LlmCall:
    digest = digest_of(request)
    model = reply.model or asked_model
    call = LlmCall(
        call_id=call_id(question, digest),
        group_id=question.cycle.group_id,
        cycle_ns=question.cycle.cycle_ns,
        node=question.node,
        attempt=question.move.attempt,
        request_digest=digest,
        model=model,
        is_offline_model=model == OFFLINE_MODEL,
        request=request,
        response=reply.text,
        status=reply.status,
        error=reply.error,
        latency_ns=latency_ns,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        ts_event_ns=question.cycle.cycle_ns,
        ts_init_ns=question.cycle.cycle_ns,
    )
    if call.status is not CallStatus.OK:
        return call
    answer = question.parse(call.response)
    if isinstance(answer, Invalid):
        return replace(call, status=CallStatus.INVALID, error=f"INVALID: {answer.reason}")
    return call
