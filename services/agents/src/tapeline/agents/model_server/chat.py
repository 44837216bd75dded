"""The chat completion protocol around the rules: request bytes in, status and answer out.

Pure: the id of an answer is the digest of its request and `created` is 0, so the same request gives
the same bytes. The figures are the first ```json block of the first user message that holds one;
later messages (a request for repair) do not change them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.agents.model_server.rules import SAYS, NoRule, answer

BODY_MAX_BYTES: Final = 256 * 1024
CHARACTERS_PER_TOKEN: Final = 4
_FIGURES: Final = re.compile(r"```json\n(.*?)\n```", re.DOTALL)


class BadRequest(Exception):
    """What the server does not accept, as the OpenAI protocol reports it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """The part of a request that the rules use."""

    messages: tuple[tuple[str, str], ...]
    """(role, text)"""


def models() -> dict[str, Any]:
    """Body of GET /v1/models."""
    model = {"id": OFFLINE_MODEL, "object": "model", "created": 0, "owned_by": "tapeline"}
    return {"object": "list", "data": [model]}


def error_body(error: BadRequest) -> dict[str, Any]:
    """An error as the OpenAI protocol writes it."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}


def complete(body: bytes) -> dict[str, Any]:
    """The completion for the body of a request; raises BadRequest."""
    request = parse_request(body)
    text = content(request)
    prompt_tokens = tokens("".join(message for _, message in request.messages))
    completion_tokens = tokens(text)
    return {
        "id": f"chatcmpl-{hashlib.sha256(body).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": OFFLINE_MODEL,
        "system_fingerprint": OFFLINE_MODEL,
        "is_offline_model": True,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def parse_request(body: bytes) -> ChatRequest:
    """The request of a body; raises BadRequest."""
    if len(body) > BODY_MAX_BYTES:
        raise BadRequest(413, "request_too_large", f"at most {BODY_MAX_BYTES} bytes")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest(400, "invalid_json", "the body is not a JSON object")
    if request.get("model") != OFFLINE_MODEL:
        raise BadRequest(404, "model_not_found", f"the only model here is {OFFLINE_MODEL}")
    if request.get("stream"):
        raise BadRequest(400, "unsupported_value", "stream must be false")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest(400, "invalid_messages", "messages must be a list of at least one message")
    return ChatRequest(messages=tuple(_message(message) for message in messages))


def _message(message: Any) -> tuple[str, str]:
    if (
        not isinstance(message, dict)
        or message.get("role") not in ("system", "developer", "user", "assistant", "tool")
        or not isinstance(message.get("content"), str)
    ):
        raise BadRequest(400, "invalid_messages", "a message needs a role and a text as content")
    return message["role"], message["content"]


def content(request: ChatRequest) -> str:
    """What the model says, JSON as text; without figures that a rule knows it says so."""
    try:
        result = answer(figures(request))
    except NoRule as reason:
        result = {"is_offline_model": True, "error": f"{SAYS}{reason}"}
    return json.dumps(result, separators=(",", ":"), allow_nan=False)


def figures(request: ChatRequest) -> dict[str, Any]:
    """The figures of the prompt; raises NoRule."""
    for role, text in request.messages:
        found = _FIGURES.search(text) if role == "user" else None
        if found is not None:
            try:
                value = json.loads(found.group(1))
            except (ValueError, RecursionError) as error:
                raise NoRule(f"the figures are not JSON: {error}") from error
            if not isinstance(value, dict):
                raise NoRule("the figures are not a JSON object")
            return value
    raise NoRule("the prompt holds no figures in a ```json block")


def tokens(text: str) -> int:
    """A count that depends on the text alone; no tokenizer is behind it."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
