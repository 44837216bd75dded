"""What follows from the calls that a node of the graph has made: a fold over their records alone.

So a run, its repetition after a crash and its replay take the same way. A failure outside is tried
again after growing pauses, RETRIES_MAX times (the deadline of a live cycle comes first); an answer
that cannot be used is asked for again REPAIRS_MAX times.

    last call                        then
    none                             ask
    OK                               done
    INVALID                          ask again, saying why; the second time stop
    TIMEOUT, ERROR worth a retry     ask the same after a pause, in the end stop
    any other                        stop
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tapeline.contracts.agents import CallStatus, LlmCall

RETRIES_MAX: Final = 8
REPAIRS_MAX: Final = 1
PAUSE_S: Final = 0.2
DEADLINE: Final = "DEADLINE"
"""code of a call that was not made because no time was left"""
WORTH_A_RETRY: Final = frozenset(
    {"TIMEOUT", "TRANSPORT", "BAD_BODY", "HTTP_408", "HTTP_429"}
    | {f"HTTP_{status}" for status in (500, 502, 503, 504, 520, 522, 524, 529)}
)
_RETRY_AFTER: Final = re.compile(r"\AHTTP_\d+: retry_after_s=(\d{1,6}), ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Make a call."""

    attempt: int
    repair: LlmCall | None = None
    """the call whose answer could not be used"""
    pause_s: float = 0.0
    """wait so long before; what the endpoint asked for, else longer each time"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last call has the answer."""

    call: LlmCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """There will be no answer."""

    reason: str
    """CODE: sentence of the last call"""


def next_move(calls: Sequence[LlmCall]) -> Ask | Done | Stop:
    """What to do after these calls of one node in one cycle, in order of attempt."""
    if not calls:
        return Ask(attempt=0)
    last = calls[-1]
    if last.status is CallStatus.OK:
        return Done(call=last)
    invalid = [call for call in calls if call.status is CallStatus.INVALID]
    if last.status is CallStatus.INVALID:
        if len(invalid) > REPAIRS_MAX:
            return Stop(reason=last.error)
        return Ask(attempt=len(calls), repair=last)
    failed_count = len(calls) - len(invalid)
    if code_of(last) not in WORTH_A_RETRY or failed_count > RETRIES_MAX:
        return Stop(reason=last.error)
    repair = invalid[-1] if invalid else None
    return Ask(attempt=len(calls), repair=repair, pause_s=_pause_s(last, failed_count))


def code_of(call: LlmCall) -> str:
    """The stable code of a call that failed."""
    return call.error.partition(":")[0]


def _pause_s(call: LlmCall, failed_count: int) -> float:
    asked = _RETRY_AFTER.match(call.error)
    if asked is not None:
        return float(asked.group(1))
    return float(PAUSE_S * 2 ** (failed_count - 1))
