"""The fold over a node's calls: when to ask, ask again, stop."""

from __future__ import annotations

from typing import Any

import pytest

from tapeline.agents.llm.attempts import Ask, Done, Stop, next_move
from tapeline.contracts.agents import CallStatus, LlmCall

OK = ("OK", "")
BAD = ("INVALID", "INVALID: stance")
SLOW = ("TIMEOUT", "TIMEOUT: late")
BROKEN = ("ERROR", "HTTP_500: oh")
FORBIDDEN = ("ERROR", "HTTP_401: no")
LATE = ("TIMEOUT", "DEADLINE: over")


def call(attempt: int, status: str, error: str) -> LlmCall:
    return LlmCall(
        call_id=f"call-{attempt}",
        group_id="llm",
        cycle_ns=1,
        node="economist",
        attempt=attempt,
        request_digest="",
        model="fake-1",
        is_offline_model=False,
        request="{}",
        response="",
        status=CallStatus(status),
        error=error,
        latency_ns=1,
        prompt_tokens=0,
        completion_tokens=0,
        ts_event_ns=1,
        ts_init_ns=1,
    )


@pytest.mark.parametrize(
    ("history", "move"),
    [
        ([], Ask),
        ([OK], Done),
        ([BAD], Ask),
        ([BAD, BAD], Stop),
        ([BAD, OK], Done),
        ([SLOW], Ask),
        ([BROKEN, SLOW], Ask),
        ([BROKEN] * 8, Ask),
        ([BROKEN] * 8 + [SLOW], Stop),
        ([BROKEN] * 8 + [BAD], Ask),
        ([BROKEN] * 8 + [BAD, BROKEN], Stop),
        ([BROKEN, BAD, BAD], Stop),
        ([BROKEN, BROKEN, OK], Done),
        ([FORBIDDEN], Stop),
        ([LATE], Stop),
        ([BROKEN, LATE], Stop),
        ([("UNKNOWN", "")], Stop),
    ],
)
def test_a_history_has_one_next_move(history: list[tuple[str, str]], move: Any) -> None:
    calls = [call(attempt, *how) for attempt, how in enumerate(history)]
    assert isinstance(next_move(calls), move)


def test_a_repair_is_kept_through_a_retry() -> None:
    bad = call(0, *BAD)
    move = next_move([bad, call(1, *BROKEN)])
    assert move == Ask(attempt=2, repair=bad, pause_s=0.2)


@pytest.mark.parametrize(
    ("errors", "pause_s"),
    [
        (["HTTP_500: x"], 0.2),
        (["HTTP_500: x", "HTTP_500: x"], 0.4),
        (["HTTP_429: retry_after_s=3, slow down"], 3.0),
        (["HTTP_429: slow down, retry_after_s=3, "], 0.2),
        (["HTTP_503: retry_after_s=0, x"], 0.0),
    ],
)
def test_a_pause_is_what_the_endpoint_asks_or_grows(errors: list[str], pause_s: float) -> None:
    calls = [call(attempt, "ERROR", error) for attempt, error in enumerate(errors)]
    move = next_move(calls)
    assert isinstance(move, Ask)
    assert move.pause_s == pause_s
