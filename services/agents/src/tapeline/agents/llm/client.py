"""Asks an OpenAI-compatible endpoint over HTTP: one call, bounded in time and in size.

Whatever goes wrong outside is a `Reply` with a stable code, never an exception; the text of an
answer is made safe to record. Nothing here retries: that is for who knows the deadline.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from tapeline.agents.llm.answers import recordable
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.contracts.agents import CallStatus

BODY_MAX_BYTES: Final = 256 * 1024
ANSWER_MAX_BYTES: Final = 16 * 1024
ERROR_MAX_CHARACTERS: Final = 300
TOKENS_MAX: Final = 2**53
CONNECTIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a call ended."""

    status: CallStatus
    """OK, TIMEOUT, ERROR, or INVALID for an answer that can be no answer"""
    text: str = ""
    error: str = ""
    """CODE: sentence; empty where OK"""
    model: str = ""
    """as the endpoint names it, empty where it did not"""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Unusable(Exception):
    """A response that is no completion; becomes a Reply."""

    def __init__(self, code: str, reason: str, status: CallStatus = CallStatus.ERROR) -> None:
        super().__init__(f"{code}: {reason}")
        self.status = status


class ChatClient:
    """Holds the connections to one endpoint; belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=None,  # noqa: S113 - asyncio.timeout bounds the whole call, slow drips too
            follow_redirects=False,
            trust_env=not endpoint.is_local,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        )

    async def ask(self, request: str, timeout_s: float) -> Reply:
        """Sends the JSON text of a request and reads the answer."""
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._exchange(request)
        except TimeoutError:
            reply = Reply(status=CallStatus.TIMEOUT, error="TIMEOUT: no whole answer in time")
        except Unusable as error:
            reply = Reply(status=error.status, error=str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = f"TRANSPORT: {type(error).__name__}: {error}"
            reply = Reply(status=CallStatus.ERROR, error=reason)
        return self._safe(reply)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _exchange(self, request: str) -> Reply:
        url = f"{self._endpoint.base_url}/chat/completions"
        async with self._http.stream("POST", url, content=request.encode()) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Unusable("ENCODED", "the answer is compressed although we refuse that")
            body = await _bounded(response)
        if response.status_code != 200:
            raise Unusable(f"HTTP_{response.status_code}", _explained(response.headers, body))
        return reply_of(body)

    def _safe(self, reply: Reply) -> Reply:
        """The reply without our key in its error and without what cannot be recorded."""
        error = reply.error
        if self._endpoint.api_key:
            error = error.replace(self._endpoint.api_key, "***")
        return Reply(
            status=reply.status,
            text=recordable(reply.text),
            error=recordable(error)[:ERROR_MAX_CHARACTERS],
            model=recordable(reply.model)[:ERROR_MAX_CHARACTERS],
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise Unusable("TOO_LARGE", f"the response has more than {BODY_MAX_BYTES} bytes")
    return bytes(body)


def _explained(headers: Mapping[str, str], body: bytes) -> str:
    """retry_after_s where the endpoint said so, and the start of its own words."""
    wait_s = retry_after_s(headers)
    words = " ".join(body[:2000].decode("utf-8", "replace").split())
    return (f"retry_after_s={wait_s}, " if wait_s is not None else "") + (words or "no body")


def retry_after_s(headers: Mapping[str, str]) -> int | None:
    """What Retry-After asks for; a date counts from the response's own Date, not from a clock."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return int(value[:6])
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max(0, int((until - now).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return None


def reply_of(body: bytes) -> Reply:
    """The reply in the body of a 200; raises Unusable."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unusable("BAD_BODY", f"the body is not JSON: {error}") from error
    message = _message(value)
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        refusal = message.get("refusal")
        reason = f"refused: {refusal}" if isinstance(refusal, str) else "the answer has no text"
        raise Unusable("EMPTY", reason, CallStatus.INVALID)
    if len(recordable(text).encode()) > ANSWER_MAX_BYTES:
        reason = f"the answer has more than {ANSWER_MAX_BYTES} bytes"
        raise Unusable("ANSWER_TOO_LARGE", reason, CallStatus.INVALID)
    usage = value.get("usage")
    model = value.get("model")
    return Reply(
        status=CallStatus.OK,
        text=text,
        model=model if isinstance(model, str) else "",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _message(value: Any) -> dict[str, Any]:
    choices = value.get("choices") if isinstance(value, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict):
        raise Unusable("BAD_BODY", "the body is no chat completion")
    return message


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < TOKENS_MAX
    return value if is_count else 0  # type: ignore[return-value]  # is_count says it is an int
