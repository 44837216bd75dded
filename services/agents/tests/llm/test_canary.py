"""Nothing from the future reaches a prompt: canaries on the topics before their time, and a real
model server that is asked all the while."""

from __future__ import annotations

import signal as signals
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from agents_samples import (
    DAY_NS,
    IXIC,
    SPX,
    HeldConfig,
    account_config,
    bar,
    group_config,
    inputs,
    signal,
    trigger_config,
    vix,
    watermark,
)
from cycles_by_hand import MemoryCallLog

from tapeline.agents.groups_stage import GroupStage, Outside
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.plugins import BadConfig
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.contracts import topics
from tapeline.contracts.agents import CallStatus, Decision
from tapeline.contracts.config import GroupKind

COMMAND = [sys.executable, "-m", "tapeline.agents.model_server", "--port", "0"]
PRICE, VIX, TEXT = 777777.25, 77.125, "CANARY-7f3a"
CANARIES = (str(PRICE), str(VIX), TEXT)
CAME, DUE = 25, 30
"""day on which the canaries are on the topics, and the day on which they may be known"""
RUN_ID = "run"


class Log(MemoryCallLog):
    """The topic llm-calls in memory, as the stage wants it."""

    def forget(self) -> None:
        """Nothing is cached."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The offline model server, as a process of its own."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().split()[-1]
        yield Endpoint(
            base_url=base_url, model="offline-rules-1", call_timeout_s=30.0, deadline_s=60.0
        )
    finally:
        process.send_signal(signals.SIGTERM)
        process.wait(timeout=120)
        process.stdout.close()


def config(**parameters: str) -> HeldConfig:
    """Figures for analysts, the regime for the economist, and a group of language models."""
    summary = {"sma": "2", "rsi": "2", "volatility": "3"}
    return HeldConfig.of(
        trigger_config("summary", "market_summary", summary),
        trigger_config("regime", "market_regime", interval_ns=0),
        group_config(
            kind=GroupKind.LLM,
            implementation="llm",
            parameters={"cycle_interval_ns": "0", **parameters},
        ),
        account_config(),
    )


async def heard(held: HeldConfig) -> list[Any]:
    """What the triggers say of the days up to the canaries', which came too early."""
    stage = TriggersStage(run_id=RUN_ID, config=held, signals_partition_count=1)
    for topic in (topics.BARS, topics.MACRO):
        stage.restore(topic, 0, 0, ())
    said: list[Any] = []
    for day in range(1, DUE + 1):
        bars: list[Any] = [bar(day, 100.0 + day, instrument_id=IXIC)]
        readings: list[Any] = [vix(day, 14.0 + day)] if day < DUE else []
        if day < DUE:
            bars.append(bar(day, 200.0 + day))
        if day == CAME:
            bars.append(bar(DUE, PRICE))
            readings.append(vix(DUE, VIX))
            said.append(signal(DUE, trigger="news", reason=TEXT, price=PRICE))
        for topic, source, records in (
            (topics.BARS, "bars/0", bars),
            (topics.MACRO, "feed/macro", readings),
        ):
            events = inputs(topic, 0, [*records, watermark(source, day)], first=100 * day)
            said += [output.record for output in await stage.step(topic, 0, events)]
    return said


async def prompts(
    endpoint: Endpoint, records: Sequence[Any], **parameters: str
) -> tuple[dict[int, str], list[Decision]]:
    """Everything that was asked, by day, and what was decided."""
    log = Log()
    stage = GroupStage(
        run_id=RUN_ID,
        group_id="momentum",
        config=config(**parameters),
        sources=("triggers/bars/0", "triggers/macro/0"),
        signals_partition_count=1,
        outside=Outside(call_log=log, llm=endpoint),
    )
    stage.restore(topics.SIGNALS, 0, 0, ())
    try:
        outputs = await stage.step(topics.SIGNALS, 0, inputs(topics.SIGNALS, 0, records))
    finally:
        await stage.stop()
    assert {call.status for call in log.calls} == {CallStatus.OK}
    asked: dict[int, str] = {}
    for call in log.calls:
        day = call.cycle_ns // DAY_NS
        asked[day] = asked.get(day, "") + call.request
    said = [output.record for output in outputs]
    return asked, [record for record in said if isinstance(record, Decision)]


async def test_a_record_from_the_future_is_in_no_prompt_before_its_time(
    endpoint: Endpoint,
) -> None:
    asked, decided = await prompts(endpoint, await heard(config()))
    early = "".join(text for day, text in asked.items() if day < DUE)
    assert decided != []
    assert set(range(CAME, DUE)) <= set(asked)
    assert [canary for canary in CANARIES if canary in early] == []
    # They are not there for want of a way in: on their day all of them are.
    assert [canary for canary in CANARIES if canary not in asked[DUE]] == []


async def test_a_prompt_knows_no_time_later_than_its_cycle(endpoint: Endpoint) -> None:
    asked, _ = await prompts(endpoint, await heard(config()))
    for day, text in asked.items():
        moment = f"1970-01-{day + 1:02d}T00:00:00Z"
        assert moment in text
        later = [f"1970-01-{other + 1:02d}T" for other in range(day + 1, DUE + 1)]
        assert [name for name in later if name in text] == []
    assert SPX in asked[CAME]


async def test_a_masked_group_is_told_neither_names_nor_dates_nor_prices_and_decides_the_same(
    endpoint: Endpoint,
) -> None:
    records = await heard(config())
    plain, decided = await prompts(endpoint, records)
    masked, hidden = await prompts(endpoint, records, is_masked="true")
    text = "".join(masked.values())
    for word in (SPX, IXIC, "SPX", "IXIC", "1970", "INDEX", TEXT, str(PRICE)):
        assert word not in text
    assert "ASSET-1" in text
    assert set(masked) == set(plain)
    # The offline model judges figures alone, and they are the same.
    assert [(item.cycle_ns, item.instrument_id, item.target_weight) for item in hidden] == [
        (item.cycle_ns, item.instrument_id, item.target_weight) for item in decided
    ]


def test_a_knowledge_cutoff_is_a_date() -> None:
    with pytest.raises(BadConfig, match="knowledge_cutoff must be a date"):
        GroupStage(
            run_id=RUN_ID,
            group_id="momentum",
            config=config(knowledge_cutoff="last summer"),
            sources=("triggers/bars/0",),
            signals_partition_count=1,
        )
