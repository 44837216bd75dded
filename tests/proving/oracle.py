"""Judges what a run has left on its topics: every decision answered once, nothing lost or doubled.

Pure: records in, damage out. It knows nothing of how they were written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal

from proving.reading import Seen
from tapeline.accounting.numbers import ZERO
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.control import Flatten
from tapeline.contracts.orders import (
    ApprovedOrder,
    ChildRole,
    CommandKind,
    Fill,
    OrderAction,
    OrderUpdate,
    VenueCommand,
)
from tapeline.contracts.risk import Denial, TradingStateChanged

JUDGED = (
    topics.DECISIONS,
    topics.APPROVED_ORDERS,
    topics.RISK_EVENTS,
    topics.ORDER_UPDATES,
    topics.FILLS,
    topics.CONTROL,
)
"""Topics that `examine` needs."""
LEGS = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is wrong, by ids; all empty: nothing."""

    unanswered: tuple[str, ...]
    """decisions without approval or denial"""
    answered_twice: tuple[str, ...]
    """decisions with more than one"""
    invented: tuple[str, ...]
    """answers to decisions that nobody made"""
    approved_twice: tuple[str, ...]
    """approval ids, and client order ids of new orders, that were used again"""
    unfinished: tuple[str, ...]
    """approvals without terminal update that execution does not hold open"""
    finished_twice: tuple[str, ...]
    """approvals with more than one terminal update"""
    filled_twice: tuple[str, ...]
    """fill ids and trade ids that were used again"""
    misfilled: tuple[str, ...]
    """orders whose fills do not add up to what their last update says, or exceed the approval;
    legs that close more than was opened"""
    sent_twice: tuple[str, ...]
    """approval ids with two sends of one child index"""
    oversent: tuple[str, ...]
    """approval ids whose sends, protective legs aside, add up to more than was approved"""
    unapproved: tuple[str, ...]
    """fills and updates without approval"""

    @property
    def is_none(self) -> bool:
        """Nothing is wrong."""
        return not any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}

    def __str__(self) -> str:
        found = {name: count for name, count in self.counts().items() if count}
        return f"damage {found}" if found else "no damage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there was to judge."""

    decisions: int
    approved: int
    denied: int
    terminal: int
    fills: int


def of(seen: Iterable[Seen], kind: type) -> list[Seen]:
    """The records of one type."""
    return [item for item in seen if isinstance(item.record, kind)]


def counted(found: Mapping[str, Sequence[Seen]]) -> Counts:
    """Records by kind; a decision told twice counts once."""
    decisions = of(found[topics.DECISIONS], Decision)
    return Counts(
        decisions=len({item.record.decision_id for item in decisions}),
        approved=len(of(found[topics.APPROVED_ORDERS], ApprovedOrder)),
        denied=len(of(found[topics.RISK_EVENTS], Denial)),
        terminal=sum(
            item.record.is_terminal for item in of(found[topics.ORDER_UPDATES], OrderUpdate)
        ),
        fills=len(of(found[topics.FILLS], Fill)),
    )


def examine(found: Mapping[str, Sequence[Seen]], held_open: Collection[str]) -> Damage:
    """`held_open`: ids of the approvals whose orders execution still holds."""
    approvals = [item.record for item in of(found[topics.APPROVED_ORDERS], ApprovedOrder)]
    denials = [item.record for item in of(found[topics.RISK_EVENTS], Denial)]
    updates = [item.record for item in of(found[topics.ORDER_UPDATES], OrderUpdate)]
    fills = [item.record for item in of(found[topics.FILLS], Fill)]
    decided = {item.record.decision_id: None for item in of(found[topics.DECISIONS], Decision)}
    commands = commands_of(found)
    answers = Counter(
        [
            approved.approval.decision_id
            for approved in approvals
            if approved.approval.decision_id not in commands
        ]
        + [name for denial in denials for name in (denial.decision_id, *denial.also_decision_ids)]
    )
    approved_ids = {approved.approval.approval_id: None for approved in approvals}
    ends = Counter(update.approval_id for update in updates if update.is_terminal)
    return Damage(
        unanswered=tuple(name for name in decided if not answers[name]),
        answered_twice=repeated(answers),
        invented=tuple(name for name in answers if name not in decided),
        approved_twice=(
            *repeated(Counter(approved.approval.approval_id for approved in approvals)),
            *repeated(
                Counter(
                    approved.order.client_order_id
                    for approved in approvals
                    if approved.action not in (OrderAction.CANCEL, OrderAction.AMEND)
                )
            ),
        ),
        unfinished=tuple(name for name in approved_ids if not ends[name] and name not in held_open),
        finished_twice=repeated(ends),
        filled_twice=(
            *repeated(Counter(fill.fill_id for fill in fills)),
            *repeated(Counter(fill.trade_id for fill in fills)),
        ),
        misfilled=misfilled(approvals, updates, fills),
        sent_twice=sent_twice(updates),
        oversent=oversent(updates),
        unapproved=tuple(
            item.approval_id for item in (*updates, *fills) if item.approval_id not in approved_ids
        ),
    )


def commands_of(found: Mapping[str, Sequence[Seen]]) -> dict[str, None]:
    """Ids under which risk approves without a decision: commands of operators, automatic halts."""
    flattens = [item.record.command_id for item in of(found.get(topics.CONTROL, ()), Flatten)]
    halts = [item.record.command_id for item in of(found[topics.RISK_EVENTS], TradingStateChanged)]
    return dict.fromkeys(name for name in (*flattens, *halts) if name)


def repeated(counts: Counter[str]) -> tuple[str, ...]:
    """What was counted more than once."""
    return tuple(name for name, count in counts.items() if count > 1)


def misfilled(
    approvals: Iterable[ApprovedOrder], updates: Iterable[OrderUpdate], fills: Iterable[Fill]
) -> tuple[str, ...]:
    """Orders, and parts of orders, whose fills are not what their last update counts; orders that
    filled more than any of their approvals covers; legs that close more than was opened."""
    ordered: dict[str, Decimal] = {}
    for item in approvals:
        if item.action is not OrderAction.CANCEL:
            name = item.order.client_order_id
            ordered[name] = max(ordered.get(name, ZERO), item.order.quantity)
    counted_last = dict.fromkeys(ordered, ZERO)
    for update in updates:
        counted_last[update.client_order_id] = update.filled_quantity
    filled = dict.fromkeys(counted_last, ZERO)
    closed: dict[str, Decimal] = {}
    for fill in fills:
        whole = fill.parent_order_id or fill.client_order_id
        is_leg = fill.role in LEGS
        names = [fill.client_order_id, *([] if is_leg else [whole])]
        for name in dict.fromkeys(names):
            filled[name] = filled.get(name, ZERO) + fill.quantity
        if is_leg:
            closed[whole] = closed.get(whole, ZERO) + fill.quantity
    return (
        *(name for name, quantity in filled.items() if quantity != counted_last.get(name)),
        *(name for name, quantity in ordered.items() if filled[name] > quantity),
        *(name for name, quantity in closed.items() if quantity > filled.get(name, ZERO)),
        *(
            name
            for name in {fill.parent_order_id or fill.client_order_id: None for fill in fills}
            if name not in ordered
        ),
    )


def sends_of(updates: Iterable[OrderUpdate]) -> list[tuple[OrderUpdate, VenueCommand]]:
    """The steps that submit something to a venue."""
    return [
        (update, update.command)
        for update in updates
        if update.command is not None and update.command.kind is CommandKind.SUBMIT
    ]


def sent_twice(updates: Iterable[OrderUpdate]) -> tuple[str, ...]:
    """Approvals under which one child index left more than once."""
    sends = Counter((update.approval_id, sent.child_index) for update, sent in sends_of(updates))
    return tuple(approval_id for (approval_id, _), count in sends.items() if count > 1)


def oversent(updates: Iterable[OrderUpdate]) -> tuple[str, ...]:
    """Approvals whose sends together are for more than was approved."""
    sent: dict[str, Decimal] = {}
    approved: dict[str, Decimal] = {}
    for update, command in sends_of(updates):
        approved[update.approval_id] = command.approved.order.quantity
        if update.role not in LEGS:
            sent[update.approval_id] = sent.get(update.approval_id, ZERO) + command.quantity
    return tuple(name for name, quantity in sent.items() if quantity > approved[name])
