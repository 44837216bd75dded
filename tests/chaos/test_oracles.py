"""The oracles see each kind of damage, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import pytest
from proving.copying import Answer, Copied, CopyDamage, judge
from proving.restarting import PARTS, Harm, Writer, parts_of
from proving.restarting import judge as judge_restarts

from tapeline.contracts.system import Consumed, ConsumedBatch, ConsumedRange

TOPICS = ("one", "other")


def whole() -> Copied:
    """Six decisions, answered in three transactions on two topics."""
    names = [f"d{number}" for number in range(6)]
    answers = [
        Answer(
            offset=number, append_ms=0, decision_id=name, count=number + 1, transaction=number // 2
        )
        for number, name in enumerate(names)
    ]
    return Copied(
        asked={0: names},
        answers={(topic, 0): answers for topic in TOPICS},
        journal={0: [consumed(number, 2 * number, 4) for number in range(3)]},
        beside={
            (topic, 0): [(item.offset, item.decision_id) for item in answers] for topic in TOPICS
        },
    )


def consumed(sequence: int, start: int, outputs: int) -> Consumed:
    """A journal record of two decisions."""
    item = ConsumedRange(
        topic="asked", partition=0, from_offset=start, next_offset=start + 2, count=2, digest=b""
    )
    batch = ConsumedBatch(session_ns=1, timers=(), slice=0, ranges=(item,), verdicts=())
    return Consumed(
        service="risk",
        shard=0,
        sequence=sequence,
        run_id="r",
        build_id="",
        batches=(batch,),
        output_count=outputs,
        output_digest=b"",
        ts_init_ns=1,
    )


def changed(found: Copied, change: Callable[[list[Answer]], Sequence[Answer]]) -> Copied:
    """The same on both topics, and the reader beside saw the same."""
    answers = {place: list(change(list(items))) for place, items in found.answers.items()}
    beside = {
        place: [(item.offset, item.decision_id) for item in items]
        for place, items in answers.items()
    }
    return replace(found, answers=answers, beside=beside)


def one_topic(found: Copied, change: Callable[[list[Answer]], Sequence[Answer]]) -> Copied:
    """The same, on one topic only."""
    place = (TOPICS[0], 0)
    both = changed(found, change)
    return replace(
        found,
        answers={**found.answers, place: both.answers[place]},
        beside={**found.beside, place: both.beside[place]},
    )


def swapped(answers: list[Answer]) -> list[Answer]:
    answers[0], answers[1] = answers[1], answers[0]
    return answers


def again(answers: list[Answer]) -> list[Answer]:
    return [*answers, replace(answers[2], offset=9, count=7)]


@dataclass(frozen=True)
class Case:
    """Something planted, and the kind that must name it."""

    kind: str
    found: Copied


CASES = (
    Case("lost", changed(whole(), lambda answers: answers[:4])),
    Case("duplicated", changed(whole(), again)),
    Case(
        "invented",
        changed(whole(), lambda answers: [*answers[:5], replace(answers[5], decision_id="x")]),
    ),
    Case("reordered", changed(whole(), swapped)),
    Case("torn", one_topic(whole(), lambda answers: answers[:5])),
    Case("torn", replace(whole(), journal={0: [consumed(n, 2 * n, 6) for n in range(3)]})),
    Case("torn", replace(whole(), journal={0: [*whole().journal[0], consumed(3, 6, 4)]})),
    Case("miscounted", changed(whole(), lambda answers: [replace(a, count=1) for a in answers])),
    Case("regressions", replace(whole(), journal={0: [*whole().journal[0], consumed(2, 6, 0)]})),
    Case("regressions", replace(whole(), journal={0: [*whole().journal[0], consumed(3, 2, 0)]})),
    Case("unsteady", replace(whole(), beside={place: [] for place in whole().beside})),
)


def test_it_finds_nothing_where_nothing_is_wrong() -> None:
    assert judge(whole()).is_none


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_it_names_what_was_planted(case: Case) -> None:
    damage = judge(case.found)
    assert case.kind in [field.name for field in fields(CopyDamage)]
    assert getattr(damage, case.kind) > 0, str(damage)


def there(number: int) -> dict[int, list[tuple[str, int]]]:
    """What a reader finds of one transaction that is there."""
    return {part: [("w", number)] for part in parts_of(number)}


def writer(begun: int, *acknowledged: int) -> Writer:
    """One that has done this."""
    return Writer("w", "t", "", begun, set(acknowledged))


NO_HARM = {"lost": 0, "torn": 0, "duplicated": 0, "reordered": 0, "invented": 0}


@pytest.mark.parametrize(
    ("begun", "acknowledged", "found", "harm"),
    [
        (1, {0}, there(0), {}),
        (1, set(), there(0), {}),
        (1, set(), {}, {}),
        (1, {0}, {}, {"lost": 1}),
        (1, {0}, dict(list(there(0).items())[1:]), {"torn": 1}),
        (1, set(), {0: [("w", 0)]}, {"torn": 1}),
        (1, {0}, {**there(0), PARTS: [("w", 0)]}, {"torn": 1}),
        (1, {0}, {**there(0), 0: [("w", 0), ("w", 0)]}, {"duplicated": 1}),
        (0, set(), there(0), {"invented": 1}),
    ],
)
def test_each_harm_of_a_restart_is_seen(
    begun: int,
    acknowledged: set[int],
    found: dict[int, list[tuple[str, int]]],
    harm: dict[str, int],
) -> None:
    assert judge_restarts([writer(begun, *acknowledged)], found) == Harm(**{**NO_HARM, **harm})


def test_a_restart_that_reorders_is_seen() -> None:
    found = {part: [("w", 1), ("w", 0)] for part in parts_of(0)}
    assert judge_restarts([writer(2)], found).reordered == PARTS
