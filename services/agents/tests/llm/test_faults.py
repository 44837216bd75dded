"""Whatever the endpoint does, the group holds, says why, and ends within its deadline."""

from __future__ import annotations

import faulty_scripts
import pytest
from cycles_by_hand import HandClock, MemoryCallLog, cycle, setup
from fake_model import Exchange, Script, fake_model, obedient

from tapeline.agents.group import GroupResult
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.group import LlmGroup
from tapeline.contracts.agents import CallStatus, MessageType
from tapeline.runtime.codec import encode


def endpoint(base_url: str, **limits: float) -> Endpoint:
    limits = {"call_timeout_s": 0.1, "deadline_s": 0.3, **limits}
    return Endpoint(base_url=base_url, model="fake-1", **limits)  # type: ignore[arg-type]


async def decided(script: Script) -> tuple[GroupResult, MemoryCallLog]:
    log = MemoryCallLog()
    async with fake_model(script) as fake:
        group = LlmGroup(setup(endpoint(fake.base_url), call_log=log))
        try:
            return await group.decide(cycle()), log
        finally:
            await group.close()


@pytest.mark.parametrize("name", list(faulty_scripts.FAULTS))
async def test_a_fault_of_the_endpoint_means_hold(name: str) -> None:
    result, log = await decided(faulty_scripts.FAULTS[name])
    assert result.decisions == ()
    status = result.messages[-1]
    assert status.type is MessageType.STATUS
    assert status.content.startswith("HOLD: ")
    assert [m for m in result.messages if m.type is MessageType.ERROR]
    assert len({call.call_id for call in log.calls}) == len(log.calls) > 0
    for record in (*log.calls, *result.messages):
        encode(record)


async def test_an_endpoint_that_is_away_means_hold() -> None:
    async with fake_model(obedient) as fake:
        pass
    log = MemoryCallLog()
    group = LlmGroup(setup(endpoint(fake.base_url), call_log=log))
    result = await group.decide(cycle())
    await group.close()
    assert result.decisions == ()
    # Refused, and tried again until the time is over; a busy machine may not come to the first.
    errors = {call.error.partition(":")[0] for call in log.calls}
    assert {"DEADLINE"} <= errors <= {"TRANSPORT", "DEADLINE"}


async def test_the_same_faults_once_do_not_matter() -> None:
    """A 500, a reset, a 429 and an answer to repair, each the first time a node asks."""
    firsts = {
        "analyst/SPY.PAPER": faulty_scripts.status(500),
        "analyst/QQQ.PAPER": faulty_scripts.says("Buy!"),
        "economist": faulty_scripts.status(429, "retry-after: 1"),
        "portfolio_manager": faulty_scripts.reset,
    }

    async def script(exchange: Exchange) -> None:
        await firsts.pop(exchange.node, obedient)(exchange)

    clock, log = HandClock(), MemoryCallLog()
    async with fake_model(script) as fake:
        limits = endpoint(fake.base_url, call_timeout_s=5.0, deadline_s=5.0)
        group = LlmGroup(setup(limits, call_log=log), clock=clock, pause=clock.pause)
        result = await group.decide(cycle())
        await group.close()
    assert len(result.decisions) == 2
    assert clock.pauses_s.count(1.0) == 1
    assert sorted((call.node, call.attempt, call.status) for call in log.calls) == [
        ("analyst/QQQ.PAPER", 0, CallStatus.INVALID),
        ("analyst/QQQ.PAPER", 1, CallStatus.OK),
        ("analyst/SPY.PAPER", 0, CallStatus.ERROR),
        ("analyst/SPY.PAPER", 1, CallStatus.OK),
        ("economist", 0, CallStatus.ERROR),
        ("economist", 1, CallStatus.OK),
        ("portfolio_manager", 0, CallStatus.ERROR),
        ("portfolio_manager", 1, CallStatus.OK),
    ]


async def test_an_endpoint_that_comes_back_within_the_deadline_is_waited_for() -> None:
    async def comes_back(exchange: Exchange) -> None:
        tries = fake.nodes.count(exchange.node)
        await (exchange.obey() if tries > 5 else faulty_scripts.status(503)(exchange))

    clock = HandClock()
    async with fake_model(comes_back) as fake:
        limits = endpoint(fake.base_url, call_timeout_s=30.0, deadline_s=60.0)
        group = LlmGroup(setup(limits), clock=clock, pause=clock.pause)
        result = await group.decide(cycle())
        await group.close()
    assert len(result.decisions) == 2
    assert sorted(clock.pauses_s) == sorted([0.2, 0.4, 0.8, 1.6, 3.2] * 4)


async def test_a_second_bad_answer_is_not_asked_for_again() -> None:
    async with fake_model(faulty_scripts.only("economist", faulty_scripts.says("?"))) as fake:
        group = LlmGroup(setup(endpoint(fake.base_url, call_timeout_s=5.0, deadline_s=5.0)))
        result = await group.decide(cycle())
        await group.close()
        assert fake.nodes == ["analyst/QQQ.PAPER", "analyst/SPY.PAPER", "economist", "economist"]
    assert result.decisions == ()


async def test_after_the_deadline_nobody_is_asked() -> None:
    clock, log = HandClock(), MemoryCallLog()

    async def late(exchange: Exchange) -> None:
        clock.now_s += 6.0
        await exchange.obey()

    async with fake_model(late) as fake:
        limits = endpoint(fake.base_url, call_timeout_s=5.0, deadline_s=5.0)
        group = LlmGroup(setup(limits, call_log=log), clock=clock, pause=clock.pause)
        result = await group.decide(cycle())
        await group.close()
        assert "portfolio_manager" not in fake.nodes
    assert result.decisions == ()
    assert "portfolio_manager: DEADLINE" in result.messages[-1].content
    assert log.calls[-1].error.startswith("DEADLINE: ")


async def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    clock, log = HandClock(), MemoryCallLog()
    async with fake_model(faulty_scripts.status(429, "retry-after: 60")) as fake:
        limits = endpoint(fake.base_url, call_timeout_s=5.0, deadline_s=5.0)
        group = LlmGroup(setup(limits, call_log=log), clock=clock, pause=clock.pause)
        result = await group.decide(cycle())
        await group.close()
        assert len(fake.exchanges) == 3
    assert clock.pauses_s == []
    assert result.decisions == ()
