"""The HTTP client alone: what it sends, what it makes of answers, what it never tells."""

from __future__ import annotations

import faulty_scripts
import pytest
from fake_model import Exchange, Script, fake_model

from tapeline.agents.llm import prompts
from tapeline.agents.llm.calls import request_of
from tapeline.agents.llm.client import ChatClient, Reply, retry_after_s
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.contracts.agents import CallStatus

MESSAGES = prompts.ask("economist", {"role": "economist", "vix": 14.0, "momentum": 0.05})


async def replied(script: Script, api_key: str = "") -> tuple[Reply, Exchange]:
    async with fake_model(script) as fake:
        endpoint = Endpoint(base_url=fake.base_url, model="fake-1", api_key=api_key)
        client = ChatClient(endpoint)
        try:
            reply = await client.ask(request_of(endpoint, MESSAGES), timeout_s=5.0)
        finally:
            await client.close()
        return reply, fake.exchanges[0]


async def test_what_is_sent_is_the_canonical_request() -> None:
    reply, exchange = await replied(faulty_scripts.says("fine"), api_key="sk-secret")
    endpoint = Endpoint(base_url="", model="fake-1")
    assert exchange.body.decode() == request_of(endpoint, MESSAGES)
    assert exchange.headers["authorization"] == "Bearer sk-secret"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.request["stream"] is False
    assert exchange.request["temperature"] == 0.0
    assert reply == Reply(
        status=CallStatus.OK, text="fine", model="fake-1", prompt_tokens=7, completion_tokens=5
    )


def test_a_temperature_of_none_is_not_sent() -> None:
    endpoint = Endpoint(base_url="", model="m", temperature=None)
    assert "temperature" not in request_of(endpoint, MESSAGES)


async def test_without_a_key_no_authorization_is_sent() -> None:
    _, exchange = await replied(faulty_scripts.says("fine"))
    assert "authorization" not in exchange.headers


async def test_the_key_is_not_in_what_is_recorded() -> None:
    async def tells(exchange: Exchange) -> None:
        await exchange.respond(401, b"Incorrect API key provided: sk-secret")

    reply, _ = await replied(tells, api_key="sk-secret")
    assert reply.error == "HTTP_401: Incorrect API key provided: ***"


async def test_a_proxy_of_the_environment_does_not_see_local_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    reply, _ = await replied(faulty_scripts.says("fine"))
    assert reply.status is CallStatus.OK


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("400", "HTTP_400"),
        ("500", "HTTP_500"),
        ("redirect", "HTTP_302"),
        ("connection reset", "TRANSPORT"),
        ("half a body", "TRANSPORT"),
        ("another protocol", "TRANSPORT"),
        ("empty body", "BAD_BODY"),
        ("half JSON", "BAD_BODY"),
        ("not UTF-8", "BAD_BODY"),
        ("deep JSON", "BAD_BODY"),
        ("no choices", "BAD_BODY"),
        ("1 MB body", "TOO_LARGE"),
        ("endless body", "TOO_LARGE"),
        ("compressed body", "ENCODED"),
        ("empty answer", "EMPTY"),
        ("100 kB answer", "ANSWER_TOO_LARGE"),
    ],
)
async def test_every_fault_has_a_stable_code(name: str, code: str) -> None:
    reply, _ = await replied(faulty_scripts.FAULTS[name])
    assert reply.status is not CallStatus.OK
    assert reply.error.partition(":")[0] == code


async def test_usage_that_is_no_count_counts_as_nothing() -> None:
    body = (
        b'{"model":7,"choices":[{"message":{"content":"x"}}],'
        b'"usage":{"prompt_tokens":-1,"completion_tokens":1e99}}'
    )
    reply, _ = await replied(faulty_scripts.raw(body))
    assert reply == Reply(status=CallStatus.OK, text="x")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "99999999999"}, 999999),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "٣"}, None),
        (
            {
                "retry-after": "Mon, 05 Jan 2015 22:00:10 GMT",
                "date": "Mon, 05 Jan 2015 22:00:00 GMT",
            },
            10,
        ),
        ({"retry-after": "Mon, 05 Jan 2015 22:00:10 GMT"}, None),
        (
            {
                "retry-after": "Mon, 05 Jan 2015 22:00:10 -0000",
                "date": "Mon, 05 Jan 2015 22:00:00 GMT",
            },
            None,
        ),
    ],
)
def test_retry_after_is_read_without_a_clock(headers: dict[str, str], seconds: int | None) -> None:
    assert retry_after_s(headers) == seconds
