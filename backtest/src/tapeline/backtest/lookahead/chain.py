"""Triggers and groups over a history in memory, as a paced run steps them: what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tapeline.agents.app import sources_of
from tapeline.agents.config_book import ConfigBook
from tapeline.agents.groups_stage import GroupStage, Outside, ReadBackLog
from tapeline.agents.llm.calls import ReplayError
from tapeline.agents.trigger import Reading
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.backtest.lookahead.history import History
from tapeline.backtest.run_replay import FixedConfig
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, Signal
from tapeline.contracts.config import GroupKind
from tapeline.contracts.market import Bar
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import digest_body
from tapeline.runtime.core import Input, Output
from tapeline.runtime.ids import content_id

SignalKey = tuple[str, str, int]
"""trigger, instrument_id, ts_event_ns"""
DecisionKey = tuple[str, int, int]
"""group_id, cycle_ns, index"""
FEED: Final = "history"


@dataclass(slots=True)
class Said:
    """Everything that was said, with the bytes that it is compared by."""

    signals: dict[SignalKey, Signal] = field(default_factory=dict)
    decisions: dict[DecisionKey, Decision] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """group -> why it could not go on, such as an answer that is not on record"""

    def bodies(self) -> dict[tuple[str, int], dict[Any, bytes]]:
        """By (trigger or group, time): what was said, as bytes."""
        found: dict[tuple[str, int], dict[Any, bytes]] = {}
        for key, signal in self.signals.items():
            found.setdefault((f"trigger {key[0]}", key[2]), {})[key] = digest_body(signal)
        for place, decision in self.decisions.items():
            found.setdefault((f"group {place[0]}", place[1]), {})[place] = digest_body(decision)
        return found


async def said_over(
    history: History, canaries: Sequence[Reading] = (), log: ReadBackLog | None = None
) -> Said:
    """Steps all triggers, and then all groups over what they said.

    `canaries` are put before the last watermark, as records that came too early. `log` answers for
    groups of language models; without it they are left out.
    """
    config = FixedConfig(history.book)
    triggers = TriggersStage(run_id=history.run_id, config=config, signals_partition_count=1)
    for topic in triggers.input_topics:
        triggers.restore(topic, 0, 0, ())
    driver = _Driver(triggers)
    last = len(history.slices)
    for number, (end_ns, readings) in enumerate(history.slices, start=1):
        await driver.readings(readings)
        if number == last:
            await driver.readings(canaries)
        await driver.pass_on(number, end_ns, is_final=number == last)
    said = Said()
    for event in driver.signals:
        if isinstance(event.record, Signal):
            signal = event.record
            said.signals[signal.trigger, signal.instrument_id, signal.ts_event_ns] = signal
    for group_id in deciding(history.book, has_log=log is not None):
        await _decide(said, history, group_id, driver.signals, log)
    return said


def deciding(book: ConfigBook, *, has_log: bool) -> list[str]:
    """Enabled groups that decide by themselves; those of language models need recorded answers."""
    left_out = (GroupKind.MANUAL,) if has_log else (GroupKind.MANUAL, GroupKind.LLM)
    return [
        name
        for name, group in sorted(book.groups.items())
        if group.is_enabled and group.kind not in left_out
    ]


class _Driver:
    """One partition of each input of the triggers."""

    def __init__(self, triggers: TriggersStage) -> None:
        self._triggers = triggers
        self._offsets = dict.fromkeys(triggers.input_topics, 0)
        self.signals: list[Input] = []

    async def readings(self, readings: Sequence[Reading]) -> None:
        """Bars and macro readings of one time."""
        for reading in readings:
            topic = topics.BARS if isinstance(reading, Bar) else topics.MACRO
            await self._step(topic, reading, content_id(reading.content_key()))

    async def pass_on(self, number: int, end_ns: int, *, is_final: bool) -> None:
        """The end of a slice, on every input."""
        for topic in self._triggers.input_topics:
            watermark = Watermark(
                source=f"{FEED}/{topic}",
                slice=number,
                is_paced=True,
                is_final=is_final,
                ts_event_ns=end_ns,
                ts_init_ns=end_ns,
            )
            await self._step(topic, watermark, f"{topic}/{number}")

    async def _step(self, topic: str, record: Any, event_id: str) -> None:
        offset = self._offsets[topic]
        self._offsets[topic] = offset + 1
        event = Input(record=record, topic=topic, partition=0, offset=offset, event_id=event_id)
        for output in await self._triggers.step(topic, 0, [event]):
            if output.topic == topics.SIGNALS:
                self.signals.append(_heard(output, len(self.signals)))


def _heard(output: Output, offset: int) -> Input:
    return Input(
        record=output.record,
        topic=topics.SIGNALS,
        partition=0,
        offset=offset,
        event_id=output.event_id,
        correlation_id=output.correlation_id or output.event_id,
    )


async def _decide(
    said: Said,
    history: History,
    group_id: str,
    signals: Sequence[Input],
    log: ReadBackLog | None,
) -> None:
    is_llm = history.book.groups[group_id].kind is GroupKind.LLM
    stage = GroupStage(
        run_id=history.run_id,
        group_id=group_id,
        config=FixedConfig(history.book),
        sources=sources_of(1),
        signals_partition_count=1,
        outside=Outside(call_log=log) if is_llm else Outside(),
    )
    stage.restore(topics.SIGNALS, 0, 0, ())
    try:
        for event in signals:
            for output in await stage.step(topics.SIGNALS, 0, [event]):
                decision = output.record
                if isinstance(decision, Decision):
                    key = (group_id, decision.cycle_ns, decision.index)
                    said.decisions[key] = decision
    except ReplayError as error:
        said.failures[group_id] = str(error)
    finally:
        await stage.stop()


def text_of(bodies: Mapping[Any, bytes], said: Said) -> str:
    """What was said at one time, for people."""
    words = []
    for key in bodies:
        signal, decision = said.signals.get(key), said.decisions.get(key)
        if signal is not None:
            words.append(f"{signal.direction.value} with confidence {signal.confidence:.3g}")
        elif decision is not None:
            words.append(_wish_of(decision))
    return ", ".join(words) or "nothing"


def _wish_of(decision: Decision) -> str:
    if decision.target_weight is not None:
        return f"weight {decision.target_weight:f} of {decision.instrument_id}"
    side = "" if decision.side is None else decision.side.value
    return f"{decision.kind.value} {side} {decision.quantity} {decision.instrument_id}"
