"""Judges a copier: what was asked against what was answered, transaction by transaction.

Pure: records in, damage out. This is the oracle that Kafka's own system test applies to its
transactional copier (every message once, in order, the same for a reader beside it), and besides:
no transaction of which only a part is visible, no journal that jumps, no lost state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from proving.reading import Seen
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import OrderUpdate
from tapeline.contracts.risk import Denial
from tapeline.contracts.system import Consumed

Place = tuple[str, int]
"""topic and partition"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as a reader found it."""

    offset: int
    append_ms: int
    decision_id: str
    count: int
    """the copier's running count: its state"""
    transaction: int
    """number that the driver wrote beside it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What readers found on the topics of one copier."""

    asked: Mapping[int, Sequence[str]]
    """partition -> ids of the decisions, in their order"""
    answers: Mapping[Place, Sequence[Answer]]
    journal: Mapping[int, Sequence[Consumed]]
    """partition -> journal records in their order; empty where there is none"""
    beside: Mapping[Place, Sequence[tuple[int, str]]]
    """offset and id of each answer, as a reader saw them while all this happened"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDamage:
    """How often something is wrong, by kind."""

    lost: int
    """decisions without an answer, on either topic"""
    duplicated: int
    """answers beyond the first, on either topic"""
    invented: int
    """answers to nothing that was asked"""
    reordered: int
    """answers in front of one that was asked earlier"""
    torn: int
    """transactions of which only a part is visible"""
    miscounted: int
    """answers whose running count is not that of their place"""
    regressions: int
    """journal records that do not follow the one before, in number or in position"""
    unsteady: int
    """answers that the reader beside saw and this one does not, or the other way round"""

    @property
    def is_none(self) -> bool:
        """Nothing is wrong."""
        return not any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name}" for field in fields(self))


def answer_of(seen: Seen) -> Answer | None:
    """An answer; None for a record that is none, such as a watermark."""
    record = seen.record
    if isinstance(record, Denial):
        count = int(record.measured or 0)
    elif isinstance(record, OrderUpdate):
        count = int(record.quantity)
    else:
        return None
    transaction = int(seen.step.split(".")[0])
    return Answer(
        offset=seen.offset,
        append_ms=seen.append_ms,
        decision_id=record.decision_id,
        count=count,
        transaction=transaction,
    )


def copied(
    found: Mapping[str, Sequence[Seen]],
    decisions: str,
    journal: str,
    beside: Mapping[Place, Sequence[tuple[int, str]]],
) -> Copied:
    """Sorts what a reader found; `decisions` and `journal` name two of the topics."""
    asked: dict[int, list[str]] = {}
    answers: dict[Place, list[Answer]] = {place: [] for place in beside}
    records: dict[int, list[Consumed]] = {}
    for topic, seen in found.items():
        for item in seen:
            if topic == decisions and isinstance(item.record, Decision):
                asked.setdefault(item.partition, []).append(item.record.decision_id)
            elif topic == journal:
                records.setdefault(item.partition, []).append(item.record)
            elif (answer := answer_of(item)) is not None:
                answers.setdefault((topic, item.partition), []).append(answer)
    return Copied(asked=asked, answers=answers, journal=records, beside=beside)


def judge(found: Copied) -> CopyDamage:
    """What is wrong with it."""
    lost = duplicated = invented = reordered = miscounted = unsteady = 0
    for (topic, partition), answers in found.answers.items():
        order = {name: index for index, name in enumerate(found.asked.get(partition, ()))}
        counts = Counter(answer.decision_id for answer in answers)
        lost += sum(name not in counts for name in order)
        duplicated += sum(count - 1 for count in counts.values())
        invented += sum(name not in order for name in counts)
        indexes = [order[item.decision_id] for item in answers if item.decision_id in order]
        reordered += sum(later < earlier for earlier, later in pairwise(indexes))
        miscounted += sum(answer.count != place for place, answer in enumerate(answers, 1))
        seen_now = {(answer.offset, answer.decision_id) for answer in answers}
        unsteady += len(seen_now ^ set(found.beside.get((topic, partition), ())))
    return CopyDamage(
        lost=lost,
        duplicated=duplicated,
        invented=invented,
        reordered=reordered,
        torn=torn(found),
        miscounted=miscounted,
        regressions=sum(map(regressions, found.journal.values())),
        unsteady=unsteady,
    )


def torn(found: Copied) -> int:
    """Transactions whose parts do not fit: the two topics hold other answers, or not as many as
    the journal record of the transaction says."""
    by_transaction: dict[tuple[int, int], dict[str, list[str]]] = {}
    topics_of: dict[int, dict[str, None]] = {}
    for (topic, partition), answers in found.answers.items():
        topics_of.setdefault(partition, {})[topic] = None
        for answer in answers:
            parts = by_transaction.setdefault((partition, answer.transaction), {})
            parts.setdefault(topic, []).append(answer.decision_id)
    counted = {
        (partition, record.sequence): record.output_count
        for partition, records in found.journal.items()
        for record in records
    }
    count = 0
    for key, parts in by_transaction.items():
        sides = [parts.get(topic, []) for topic in topics_of[key[0]]]
        is_whole = all(side == sides[0] for side in sides)
        if found.journal:
            is_whole = is_whole and counted.get(key) == sum(map(len, sides))
        count += not is_whole
    return count + sum(
        bool(number) and key not in by_transaction for key, number in counted.items()
    )


def regressions(journal: Sequence[Consumed]) -> int:
    """Records that jump, or go back to what was consumed before."""
    count = sum(later.sequence != earlier.sequence + 1 for earlier, later in pairwise(journal))
    positions: dict[Place, int] = {}
    for record in journal:
        for item in (item for batch in record.batches for item in batch.ranges):
            place = (item.topic, item.partition)
            count += item.from_offset != positions.get(place, item.from_offset)
            positions[place] = item.next_offset
    return count
