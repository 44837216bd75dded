"""The checks: what is said at a time must depend on nothing that came later.

TRUNCATED   the history ends at the time, and records from the future are already there: the same
            must be said as with the whole history
REPEATED    the same history again, in the same process: the same must be said
KEPT        a state that was kept and taken back goes on as one that was not
TWIN        the vectorised form of a trigger says of truncated closes what it says of all
OUTSIDE     nothing but the readings is looked at: no file, no connection, no process
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from tapeline.agents.analysis import Watch, analyse, dump, initial, load, subject_of
from tapeline.agents.flip import SIGNS
from tapeline.agents.trigger import Opinion, Reading
from tapeline.agents.watches import watches_of
from tapeline.backtest.engine.strategy import NOTHING, twin_of
from tapeline.backtest.lookahead.chain import Said, deciding, said_over, text_of
from tapeline.backtest.lookahead.history import History
from tapeline.backtest.lookahead.outside import watched
from tapeline.backtest.recorded_calls import RecordedCalls
from tapeline.contracts.market import Bar

CUTS: Final = 12
"""Truncated histories, where not said."""
KEPT_READINGS: Final = 50
"""Readings that a state which was taken back is followed for."""
FINDINGS_MAX: Final = 50
"""Of one trigger or group and check: more say nothing new."""


class Check(StrEnum):
    """What was looked for."""

    TRUNCATED = "TRUNCATED"
    REPEATED = "REPEATED"
    KEPT = "KEPT"
    TWIN = "TWIN"
    OUTSIDE = "OUTSIDE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was said otherwise although nothing that came before was otherwise."""

    check: Check
    who: str
    """such as trigger sma_cross, group trend"""
    ts_ns: int
    """time of what was said"""
    cut_ns: int
    """end of the truncated history; 0: it was whole"""
    whole: str
    """what was said with the whole history"""
    other: str
    """what was said otherwise"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What changes when the history begins later: how long a trigger remembers."""

    who: str
    subject: str
    start: int
    """readings that were left out at the beginning"""
    compared: int
    """readings on which both had an opinion"""
    differing: int
    """of them, those with another direction"""
    agreed_after: int | None
    """readings after the later start from which all directions agree; None: they never do"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookahead:
    """What came of all checks."""

    findings: tuple[Finding, ...]
    warm_ups: tuple[WarmUp, ...]
    readings: int
    signals: int
    decisions: int
    cuts: int
    checked: tuple[str, ...]
    left_out: tuple[str, ...]
    """groups that could not be checked, and why"""

    @property
    def is_clean(self) -> bool:
        """Nothing was found."""
        return not self.findings


def look(history: History, cuts: int = CUTS) -> Lookahead:
    """Runs every check over every enabled trigger and group of the history's configuration."""
    log = RecordedCalls(history.calls) if history.calls else None
    has_log = log is not None
    watches = watches_of(history.book)
    findings = [item for watch in watches for item in _outside(history, watch)]
    whole = asyncio.run(said_over(history, log=log))
    again = asyncio.run(said_over(history, log=log))
    findings += _differences(Check.REPEATED, whole, again, history, 0)
    counts = cut_points(history, whole, cuts)
    for count in counts:
        part = history.until(count)
        other = asyncio.run(said_over(part, part.canaries(), log))
        findings += _differences(Check.TRUNCATED, whole, other, part, part.times[-1])
    warm_ups: list[WarmUp] = []
    for watch in watches:
        for subject, readings in _by_subject(history, watch).items():
            findings += _kept(watch, readings)
            findings += _twin(watch, readings)
            warm_ups += _warm_ups(watch, subject, readings)
    groups = deciding(history.book, has_log=has_log)
    return Lookahead(
        findings=tuple(_first_of_each(findings)),
        warm_ups=tuple(warm_ups),
        readings=sum(len(readings) for _, readings in history.slices),
        signals=len(whole.signals),
        decisions=len(whole.decisions),
        cuts=len(counts),
        checked=(
            *(f"trigger {watch.config.trigger}" for watch in watches),
            *(f"group {name}" for name in groups if name not in whole.failures),
        ),
        left_out=_left_out(history, groups, whole),
    )


def cut_points(history: History, whole: Said, cuts: int) -> list[int]:
    """Numbers of slices to cut behind: half of them evenly spaced, half where it was decided."""
    count = len(history.slices)
    even = {round(count * number / (cuts + 1)) for number in range(1, cuts + 1)}
    number_of = {ts_ns: number for number, ts_ns in enumerate(history.times, start=1)}
    moments = sorted({key[1] for key in whole.decisions} | {key[2] for key in whole.signals})
    decided = [number_of[ts_ns] for ts_ns in moments if ts_ns in number_of]
    step = max(1, len(decided) // max(cuts // 2, 1))
    chosen = even | {*decided[step // 2 :: step]}
    return sorted(number for number in chosen if 0 < number < count)


def _outside(history: History, watch: Watch) -> list[Finding]:
    """Before anything else is run: who looks once may remember."""
    found: list[str] = []
    for readings in _by_subject(history, watch).values():
        with watched() as seen:
            _opinions(watch, readings)
        found += seen
    who = f"trigger {watch.config.trigger}"
    return [looked_outside(who, text) for text in dict.fromkeys(found)]


def looked_outside(who: str, text: str) -> Finding:
    """Something that a strategy may not need."""
    return Finding(
        check=Check.OUTSIDE, who=who, ts_ns=0, cut_ns=0, whole="nothing but readings", other=text
    )


def _differences(
    check: Check, whole: Said, other: Said, part: History, cut_ns: int
) -> list[Finding]:
    """Everything said up to the end of `part` that is not the same in both."""
    end_ns = part.times[-1] if part.slices else 0
    then, now = whole.bodies(), other.bodies()
    found = []
    for who, ts_ns in sorted({*then, *now}):
        if ts_ns > end_ns:
            continue
        before, after = then.get((who, ts_ns), {}), now.get((who, ts_ns), {})
        if before != after:
            found.append(
                Finding(
                    check=check,
                    who=who,
                    ts_ns=ts_ns,
                    cut_ns=cut_ns,
                    whole=text_of(_unlike(before, after), whole),
                    other=text_of(_unlike(after, before), other),
                )
            )
    found += _new_failures(check, whole, other, end_ns, cut_ns)
    return _causes(found, part)


def _unlike(one: Mapping[Any, bytes], other: Mapping[Any, bytes]) -> dict[Any, bytes]:
    return {key: body for key, body in one.items() if other.get(key) != body}


def _new_failures(
    check: Check, whole: Said, other: Said, end_ns: int, cut_ns: int
) -> list[Finding]:
    """A group that had its answers before and has not now has asked something else."""
    return [
        Finding(
            check=check,
            who=f"group {group_id}",
            ts_ns=end_ns,
            cut_ns=cut_ns,
            whole="the prompts on record",
            other=reason,
        )
        for group_id, reason in other.failures.items()
        if group_id not in whole.failures
    ]


def _causes(found: list[Finding], part: History) -> list[Finding]:
    """Without groups that only follow a trigger of their universe which differs."""
    guilty = {item.who.removeprefix("trigger ") for item in found if item.who.startswith("trigger")}
    universes = {part.book.triggers[name].universe for name in guilty if name in part.book.triggers}
    return [
        item
        for item in found
        if not item.who.startswith("group ")
        or part.book.groups[item.who.removeprefix("group ")].universe not in universes
    ]


def _by_subject(history: History, watch: Watch) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {}
    for _, slice_ in history.slices:
        for reading in slice_:
            if watch.concerns(reading):
                found.setdefault(subject_of(reading), []).append(reading)
    return found


def _opinions(watch: Watch, readings: Sequence[Reading]) -> list[Opinion | None]:
    standing, found = initial(watch), []
    for reading in readings:
        standing, opinion, _ = analyse(watch, standing, reading)
        found.append(opinion)
    return found


def _kept(watch: Watch, readings: Sequence[Reading]) -> list[Finding]:
    """Keeps the state now and then, takes it back and goes on from there."""
    found = []
    step = max(1, len(readings) // CUTS)
    standing = initial(watch)
    for number, reading in enumerate(readings):
        standing, _, _ = analyse(watch, standing, reading)
        if number % step:
            continue
        one, other = standing, load(watch, dump(watch, standing))
        assert other is not None, "the record has not changed in between"
        for later in readings[number + 1 : number + 1 + KEPT_READINGS]:
            one, expected, _ = analyse(watch, one, later)
            other, opinion, _ = analyse(watch, other, later)
            if opinion != expected:
                found.append(
                    _finding(Check.KEPT, watch, later, reading.ts_event_ns, expected, opinion)
                )
                break
    return found


def _finding(
    check: Check,
    watch: Watch,
    reading: Reading,
    cut_ns: int,
    whole: Opinion | None,
    other: Opinion | None,
) -> Finding:
    return Finding(
        check=check,
        who=f"trigger {watch.config.trigger}",
        ts_ns=reading.ts_event_ns,
        cut_ns=cut_ns,
        whole=_words(whole),
        other=_words(other),
    )


def _words(opinion: Opinion | None) -> str:
    if opinion is None:
        return "nothing"
    return f"{opinion.direction.value} with confidence {opinion.confidence:.3g}"


def _twin(watch: Watch, readings: Sequence[Reading]) -> list[Finding]:
    """Compares the vectorised form on all closes with that on truncated ones, and with steps."""
    twin = twin_of(watch)
    bars = [reading for reading in readings if isinstance(reading, Bar)]
    if twin is None or not bars:
        return []
    closes = np.array([bar.close for bar in bars])
    whole = twin(closes)
    stepped = [
        NOTHING if opinion is None else SIGNS[opinion.direction]
        for opinion in _opinions(watch, bars)
    ]
    found = [
        _of_twin(watch, bars[index], 0, int(whole[index]), int(stepped[index]))
        for index in np.flatnonzero(whole != np.array(stepped))[:1]
    ]
    step = max(1, len(bars) // (CUTS + 1))
    for count in range(step, len(bars), step):
        part = twin(closes[:count])
        for index in np.flatnonzero(part != whole[:count])[:1]:
            cut_ns = bars[count - 1].ts_event_ns
            found.append(_of_twin(watch, bars[index], cut_ns, int(whole[index]), int(part[index])))
    return found


def _of_twin(watch: Watch, bar: Bar, cut_ns: int, whole: int, other: int) -> Finding:
    names = {sign: direction.value for direction, sign in SIGNS.items()}
    return Finding(
        check=Check.TWIN,
        who=f"trigger {watch.config.trigger}",
        ts_ns=bar.ts_event_ns,
        cut_ns=cut_ns,
        whole=f"{names.get(whole, 'nothing')}, by its vectorised form",
        other=f"{names.get(other, 'nothing')}, {'truncated' if cut_ns else 'step by step'}",
    )


def _warm_ups(watch: Watch, subject: str, readings: Sequence[Reading]) -> list[WarmUp]:
    """Begins a quarter, a half and three quarters later."""
    whole = _opinions(watch, readings)
    found = []
    for start in sorted({len(readings) * part // 4 for part in (1, 2, 3)} - {0}):
        later = _opinions(watch, readings[start:])
        pairs = [
            (number, before, after)
            for number, (before, after) in enumerate(zip(whole[start:], later, strict=True))
            if before is not None and after is not None
        ]
        differing = [
            number for number, before, after in pairs if before.direction is not after.direction
        ]
        first = pairs[0][0] if pairs else None
        last = differing[-1] + 1 if differing else first
        found.append(
            WarmUp(
                who=f"trigger {watch.config.trigger}",
                subject=subject,
                start=start,
                compared=len(pairs),
                differing=len(differing),
                agreed_after=None if last is None or last > len(later) - 1 else last,
            )
        )
    return found


def _first_of_each(findings: Sequence[Finding]) -> list[Finding]:
    counts: dict[tuple[Check, str], int] = {}
    found = []
    for item in findings:
        key = (item.check, item.who)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= FINDINGS_MAX:
            found.append(item)
    return found


def _left_out(history: History, groups: Sequence[str], whole: Said) -> tuple[str, ...]:
    silent = [
        f"group {name}: no answers of its language model are on record"
        for name in deciding(history.book, has_log=True)
        if name not in groups
    ]
    failed = [f"group {name}: {reason}" for name, reason in whole.failures.items()]
    return (*silent, *failed)
