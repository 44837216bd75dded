"""The group as the stage sees it: cycles in, decisions and a discussion out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from cycles_by_hand import (
    CYCLE_NS,
    FALLING,
    QQQ,
    RISING,
    SPY,
    MemoryCallLog,
    cycle,
    market,
    setup,
    signal,
)
from fake_model import Exchange, FakeModel, fake_model, obedient
from faulty_scripts import manager_says, weight

from tapeline.agents.group import ClosableGroup, Cycle, Group, GroupResult, decision_id
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.group import LlmGroup
from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.agents.model_server.app import listen, make_server
from tapeline.agents.plugins import BadConfig, make_group
from tapeline.contracts.agents import MessageType
from tapeline.runtime.codec import encode

FIVE = tuple(f"S{number}.PAPER" for number in range(5))


def patient(base_url: str, model: str = "fake-1") -> Endpoint:
    return Endpoint(base_url=base_url, model=model, call_timeout_s=30.0, deadline_s=30.0)


async def decided(
    fake: FakeModel, now: Cycle, parameters: Mapping[str, str] | None = None
) -> GroupResult:
    group = LlmGroup(setup(patient(fake.base_url), parameters=parameters))
    try:
        return await group.decide(now)
    finally:
        await group.close()


def said(result: GroupResult) -> bytes:
    """All bytes of a result."""
    return b"".join(encode(record) for record in (*result.decisions, *result.messages))


def weights(result: GroupResult) -> dict[str, Decimal | None]:
    return {d.instrument_id: d.target_weight for d in result.decisions}


async def test_a_group_is_one_of_the_contract() -> None:
    group: Group = make_group(setup(None))
    assert isinstance(group, LlmGroup)
    assert isinstance(group, ClosableGroup)
    await group.close()


async def test_figures_become_weights_within_the_regime_s_cap() -> None:
    async with fake_model(obedient) as fake:
        calm = await decided(fake, cycle())
        panic = cycle(
            market({"vix": 40.0, "momentum": -0.2}), signal(SPY, RISING), signal(QQQ, FALLING)
        )
        afraid = await decided(fake, panic)
    assert weights(calm) == {SPY: Decimal("0.0232"), QQQ: Decimal("-0.0296")}
    assert weights(afraid) == {SPY: Decimal("0.0058"), QQQ: Decimal("-0.0074")}
    first = calm.decisions[0]
    assert first.decision_id == decision_id("run-1", cycle(), 0)
    assert [decision.index for decision in calm.decisions] == [0, 1]
    assert (first.reference_price, first.model, first.ts_init_ns) == (200.0, "fake-1", CYCLE_NS)
    assert afraid.decisions[0].reason.startswith("RISK_OFF: ")


async def test_the_offline_model_is_named_in_every_record() -> None:
    listener = listen("127.0.0.1", 0)
    server = make_server()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log = MemoryCallLog()
    port = listener.getsockname()[1]
    endpoint = patient(f"http://127.0.0.1:{port}/v1", OFFLINE_MODEL)
    group = LlmGroup(setup(endpoint, call_log=log))
    try:
        result = await group.decide(cycle())
    finally:
        await group.close()
        server.should_exit = True
        await serving
        listener.close()
    assert len(result.decisions) == 2
    for record in (*result.decisions, *result.messages, *log.calls):
        assert record.is_offline_model
        assert "ffline model" in repr(record)


async def test_another_model_is_not_called_offline() -> None:
    async with fake_model(obedient) as fake:
        result = await decided(fake, cycle())
    assert not any(record.is_offline_model for record in (*result.decisions, *result.messages))


async def test_the_discussion_follows_the_order_of_the_nodes() -> None:
    async with fake_model(obedient) as fake:
        result = await decided(fake, cycle())
    analysts = [f"analyst/{SPY}", f"analyst/{QQQ}"]
    assert [(message.sender, message.type) for message in result.messages] == [
        *[("coordinator", MessageType.TASK)] * 3,
        *[(node, MessageType.RESULT) for node in (*analysts, "economist", "portfolio_manager")],
        ("coordinator", MessageType.STATUS),
    ]
    assert len({message.message_id for message in result.messages}) == len(result.messages)


async def test_the_model_s_regime_is_a_comment_and_the_rule_stands() -> None:
    async def bold(exchange: Exchange) -> None:
        if exchange.node == "economist":
            await exchange.say('{"regime":"RISK_ON","risk_multiplier":1,"comment":"All in!"}')
        else:
            await exchange.obey()

    panic = cycle(market({"vix": 40.0, "momentum": -0.2}), signal(SPY, RISING))
    async with fake_model(bold) as fake:
        result = await decided(fake, panic)
    assert weights(result) == {SPY: Decimal("0.0058")}
    [comment] = [message.content for message in result.messages if message.sender == "economist"]
    assert comment == "The rule's regime RISK_OFF (weights times 0.25) stands; " + (
        "the model would say RISK_ON. All in!"
    )


async def test_analysts_and_economist_ask_at_the_same_time() -> None:
    """Nobody is answered before all six have asked: one after the other would never end."""

    async def all_or_none(exchange: Exchange) -> None:
        await fake.until_in_flight(6)
        await exchange.obey()

    now = cycle(market(), *(signal(instrument_id, RISING) for instrument_id in FIVE))
    async with fake_model(all_or_none) as fake:
        group = LlmGroup(setup(patient(fake.base_url), instruments=FIVE))
        result = await group.decide(now)
        await group.close()
    assert len(result.decisions) == 5
    assert (fake.in_flight_max, len(fake.exchanges)) == (6, 7)


@pytest.mark.parametrize("last", ["analyst/S0.PAPER", "analyst/S3.PAPER", "economist"])
async def test_the_order_of_arrival_changes_nothing(last: str) -> None:
    """One node is answered after all others have been; then in the order of asking."""
    answered = asyncio.Semaphore(0)

    async def reordered(exchange: Exchange) -> None:
        if exchange.node == last:
            for _ in range(5):
                await answered.acquire()
        await exchange.obey()
        answered.release()

    now = cycle(market(), *(signal(instrument_id, RISING) for instrument_id in FIVE))
    results = []
    for script in (obedient, reordered):
        async with fake_model(script) as fake:
            group = LlmGroup(setup(patient(fake.base_url), instruments=FIVE))
            results.append(await group.decide(now))
            await group.close()
    assert said(results[0]) == said(results[1])
    assert [d.instrument_id for d in results[0].decisions] == list(FIVE)


async def test_the_loop_is_free_while_the_model_thinks() -> None:
    has_worked = asyncio.Event()

    async def waits_for_other_work(exchange: Exchange) -> None:
        await has_worked.wait()
        await exchange.obey()

    async with fake_model(waits_for_other_work) as fake:
        deciding = asyncio.create_task(decided(fake, cycle()))
        await fake.until_in_flight(3)
        has_worked.set()
        assert len((await deciding).decisions) == 2


async def test_a_weight_that_is_asked_for_already_is_not_asked_for_again() -> None:
    targets = {SPY: Decimal("0.0232"), QQQ: Decimal("-0.0291")}
    async with fake_model(obedient) as fake:
        result = await decided(fake, cycle(targets=targets))
        closer = await decided(fake, cycle(targets=targets), {"band": "0.0004"})
    assert result.decisions == ()
    assert result.messages[-1].content == "HOLD: no weight changes."
    assert weights(closer) == {QQQ: Decimal("-0.0296")}


async def test_a_position_is_closed_however_small_it_is() -> None:
    targets = {SPY: Decimal("0.0001"), QQQ: Decimal("0.01")}
    async with fake_model(manager_says([weight(SPY, 0), weight(QQQ, 0.01)])) as fake:
        assert weights(await decided(fake, cycle(targets=targets))) == {SPY: Decimal(0)}


async def test_a_long_only_group_does_not_go_short() -> None:
    async with fake_model(obedient) as fake:
        result = await decided(fake, cycle(), {"allows_short": "false"})
    assert weights(result) == {SPY: Decimal("0.0232")}
    short = manager_says([weight(SPY, 0.01), weight(QQQ, -0.000001)])
    async with fake_model(short) as fake:
        assert (await decided(fake, cycle(), {"allows_short": "false"})).decisions == ()


@pytest.mark.parametrize(
    "now",
    [
        replace(cycle(), signals=()),
        cycle(market()),
        cycle(market(), signal("GME.PAPER", RISING)),
    ],
)
async def test_a_cycle_without_anything_to_ask_costs_no_call(now: Cycle) -> None:
    async with fake_model(obedient) as fake:
        assert await decided(fake, now) == GroupResult()
        assert fake.exchanges == []


async def test_only_permitted_instruments_are_asked_about() -> None:
    now = cycle(market(), signal("GME.PAPER", RISING), signal(SPY, RISING))
    async with fake_model(obedient) as fake:
        result = await decided(fake, now)
    assert fake.nodes == [f"analyst/{SPY}", "economist", "portfolio_manager"]
    assert weights(result) == {SPY: Decimal("0.0232")}


async def test_a_group_may_ask_a_model_of_its_own() -> None:
    async with fake_model(obedient) as fake:
        await decided(fake, cycle(), {"model": "small-1"})
        assert {exchange.request["model"] for exchange in fake.exchanges} == {"small-1"}


async def test_a_prompt_that_does_not_fit_its_record_is_not_sent() -> None:
    long = signal(SPY, RISING, reason="x" * 40_000)
    async with fake_model(obedient) as fake:
        result = await decided(fake, cycle(market(), long))
        assert fake.nodes == ["economist"]
    assert "PROMPT_TOO_LARGE" in result.messages[-1].content


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": "1"},
        {"allows_short": "perhaps"},
        {"band": "NaN"},
        {"band": "2"},
        {"band": "a"},
    ],
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, str]) -> None:
    with pytest.raises(BadConfig, match=next(iter(given))):
        make_group(setup(None, parameters=given))


async def test_the_stage_s_own_parameter_is_let_through() -> None:
    await LlmGroup(setup(None, parameters={"cycle_interval_ns": "5"})).close()
