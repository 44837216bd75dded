"""Every answer is on record before it is used: crash, restart, replay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cycles_by_hand import (
    CYCLE_NS,
    FALLING,
    QQQ,
    SPY,
    HandClock,
    MemoryCallLog,
    ProcessKilled,
    cycle,
    market,
    setup,
    signal,
)
from fake_model import Exchange, FakeModel, Script, fake_model, obedient
from faulty_scripts import FAULTS, only, says, status

from tapeline.agents.group import GroupResult
from tapeline.agents.llm.calls import AnswerMissing, PromptChanged, RecordedCallLog
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.group import LlmGroup
from tapeline.contracts.agents import CallStatus, LlmCall
from tapeline.runtime.codec import encode


async def decided(fake: FakeModel, log: MemoryCallLog, deadline_s: float = 30.0) -> GroupResult:
    clock = HandClock()
    endpoint = Endpoint(
        base_url=fake.base_url, model="fake-1", call_timeout_s=deadline_s, deadline_s=deadline_s
    )
    group = LlmGroup(setup(endpoint, call_log=log), clock=clock, pause=clock.pause)
    try:
        return await group.decide(cycle())
    finally:
        await group.close()


async def replayed(calls: Sequence[LlmCall], **changes: object) -> GroupResult:
    """The same group without a network."""
    group = LlmGroup(setup(None, call_log=RecordedCallLog(calls)))
    return await group.decide(replace(cycle(), **changes))  # type: ignore[arg-type]


def said(result: GroupResult) -> bytes:
    return b"".join(encode(record) for record in (*result.decisions, *result.messages))


async def test_an_answer_is_not_used_before_its_record_is_acknowledged() -> None:
    gate, has_three = asyncio.Event(), asyncio.Event()

    class SlowLog(MemoryCallLog):
        async def record(self, call: LlmCall) -> None:
            await super().record(call)
            if len(self.calls) == 3:
                has_three.set()
            await gate.wait()

    async with fake_model(obedient) as fake:
        deciding = asyncio.create_task(decided(fake, SlowLog()))
        await has_three.wait()
        # The loop runs dry: whatever could follow from the three answers has followed.
        for _ in range(100):
            await asyncio.sleep(0)
        assert "portfolio_manager" not in fake.nodes
        gate.set()
        assert len((await deciding).decisions) == 2
        assert "portfolio_manager" in fake.nodes


@pytest.mark.parametrize("crash_after", [1, 2, 3, 4])
async def test_after_a_crash_nobody_is_asked_twice(crash_after: int) -> None:
    async with fake_model(obedient) as fake:
        whole = await decided(fake, MemoryCallLog())
    log = MemoryCallLog(crash_after=crash_after)
    async with fake_model(obedient) as fake:
        with pytest.raises(ProcessKilled):
            await decided(fake, log)
        acknowledged = {call.node for call in log.calls}
        asked_before = len(fake.exchanges)
        log.crash_after = None
        result = await decided(fake, log)
        asked_again = {exchange.node for exchange in fake.exchanges[asked_before:]}
    assert acknowledged.isdisjoint(asked_again)
    assert len(acknowledged | asked_again) == 4
    assert said(result) == said(whole)


async def test_a_cycle_that_is_met_again_asks_nobody() -> None:
    log = MemoryCallLog()
    async with fake_model(obedient) as fake:
        first = await decided(fake, log)
        assert said(await decided(fake, log)) == said(first)
        assert len(fake.exchanges) == 4
    assert len(log.calls) == 4


SCRIPTS: dict[str, Script] = {
    "all well": obedient,
    "an analyst refused": only("analyst/QQQ", status(401)),
    "all broken": status(500),
    "an answer that cannot be repaired": only("economist", says("?")),
    "weights beyond the cap": FAULTS["weight above the cap"],
    "silence": only("analyst/QQQ", FAULTS["no answer"]),
}


@pytest.mark.parametrize("name", list(SCRIPTS))
async def test_a_replay_without_network_says_the_same_bytes(name: str) -> None:
    log = MemoryCallLog()
    async with fake_model(SCRIPTS[name]) as fake:
        live = await decided(fake, log, 0.3 if name == "silence" else 30.0)
    assert said(await replayed(log.calls)) == said(live)
    assert said(await replayed(list(reversed(log.calls)))) == said(live)


async def test_a_replay_follows_retries_and_repairs() -> None:
    firsts = {"economist": status(503), f"analyst/{SPY}": says("?"), "portfolio_manager": says("[")}

    async def script(exchange: Exchange) -> None:
        await firsts.pop(exchange.node, obedient)(exchange)

    log = MemoryCallLog()
    async with fake_model(script) as fake:
        live = await decided(fake, log)
    assert len(log.calls) == 7
    assert len(live.decisions) == 2
    assert said(await replayed(log.calls)) == said(live)


async def test_the_first_record_of_an_id_wins() -> None:
    log = MemoryCallLog()
    async with fake_model(obedient) as fake:
        live = await decided(fake, log)
    late = [replace(call, status=CallStatus.ERROR, error="HTTP_401: no") for call in log.calls]
    assert said(await replayed([*log.calls, *late])) == said(live)
    assert said(await replayed([*late, *log.calls])) != said(live)
    restarted = MemoryCallLog()
    restarted.calls = [*log.calls, *late]
    async with fake_model(obedient) as fake:
        assert said(await decided(fake, restarted)) == said(live)
        assert fake.exchanges == []


async def test_another_figure_is_another_prompt_and_is_flagged() -> None:
    log = MemoryCallLog()
    async with fake_model(obedient) as fake:
        await decided(fake, log)
    opinions = cycle(market(), signal(SPY, FALLING), signal(QQQ, FALLING)).opinions
    with pytest.raises(PromptChanged) as flagged:
        await replayed(log.calls, opinions=opinions)
    assert (flagged.value.node, flagged.value.cycle_ns) == (f"analyst/{SPY}", CYCLE_NS)
    assert f"analyst/{SPY}" in str(flagged.value)


async def test_another_prompt_text_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryCallLog()
    async with fake_model(obedient) as fake:
        await decided(fake, log)
    changed = [
        replace(call, request=call.request.replace("You are", "You were")) for call in log.calls
    ]
    digests = [replace(call, request_digest="0" * 64) for call in changed]
    with pytest.raises(PromptChanged):
        await replayed(digests)


async def test_an_answer_that_is_not_on_record_is_flagged() -> None:
    log = MemoryCallLog()
    async with fake_model(obedient) as fake:
        await decided(fake, log)
    with pytest.raises(AnswerMissing) as flagged:
        await replayed([call for call in log.calls if call.node != "portfolio_manager"])
    assert (flagged.value.node, flagged.value.attempt) == ("portfolio_manager", 0)


async def test_a_call_log_that_fails_ends_the_cycle() -> None:
    """Without the acknowledgement nothing may be decided, not even to hold."""
    async with fake_model(obedient) as fake:
        with pytest.raises(ProcessKilled):
            await decided(fake, MemoryCallLog(crash_after=1))
