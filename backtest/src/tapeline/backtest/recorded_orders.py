"""Orders and fills of a run as rows of its tables, recorded or just played: each decision that
asked for an order, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Instrument
from tapeline.contracts.orders import (
    ApprovedOrder,
    ChildRole,
    CommandKind,
    Fill,
    OrderAction,
    OrderUpdate,
    Side,
)
from tapeline.contracts.risk import Denial

ASKING = (DecisionKind.TARGET_WEIGHT, DecisionKind.ORDER)
PROTECTIVE = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)


@dataclass(slots=True, kw_only=True)
class Story:
    """What is known of one order."""

    decision: Decision | None = None
    approved: ApprovedOrder | None = None
    denial: Denial | None = None
    updates: list[OrderUpdate] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecords:
    """What orders are told from, each in the order of its topic."""

    decisions: Iterable[Decision] = ()
    approvals: Iterable[ApprovedOrder] = ()
    denials: Iterable[Denial] = ()
    updates: Iterable[OrderUpdate] = ()
    fills: Iterable[Fill] = ()


def fill_rows(
    fills: Iterable[Fill],
    instruments: Mapping[str, Instrument],
    rate_then: Callable[[Fill], float | None] = lambda _fill: None,
) -> list[dict[str, Any]]:
    """Rows of the table fills, as they come; the multiplier is null where nobody knows it.

    `rate_then` tells what one unit of a fill's currency was worth in the base currency.
    """
    return [
        {**_fill_row(fill, instruments.get(fill.instrument_id)), "currency_rate": rate_then(fill)}
        for fill in fills
    ]


def _fill_row(fill: Fill, instrument: Instrument | None) -> dict[str, Any]:
    return {
        "ts_event_ns": fill.ts_event_ns,
        "account_id": fill.account_id,
        "group_id": fill.group_id,
        "instrument_id": fill.instrument_id,
        "client_order_id": fill.client_order_id,
        "decision_id": fill.decision_id,
        "side": fill.side.value,
        "role": fill.role.value,
        "liquidity": fill.liquidity_side.value,
        "quantity": float(fill.quantity),
        "price": float(fill.price),
        "fee": float(fill.commission),
        "arrival_price": float(fill.arrival_price),
        "slippage": None if fill.slippage is None else float(fill.slippage),
        "multiplier": None if instrument is None else float(instrument.multiplier),
        "currency": fill.currency,
    }


def order_rows(records: OrderRecords) -> list[dict[str, Any]]:
    """Rows of the table orders, by time of decision; those of a command (a flattening) included."""
    stories = {
        decision.decision_id: Story(decision=decision)
        for decision in records.decisions
        if decision.kind in ASKING
    }
    by_approval = _approved(stories, records.approvals)
    for denial in records.denials:
        for decision_id in (denial.decision_id, *denial.also_decision_ids):
            if decision_id in stories:
                stories[decision_id].denial = denial
    for update in records.updates:
        if update.approval_id in by_approval:
            by_approval[update.approval_id].updates.append(update)
    for fill in records.fills:
        if fill.approval_id in by_approval and fill.role not in PROTECTIVE:
            by_approval[fill.approval_id].fills.append(fill)
    rows = [_row(story) for story in stories.values()]
    return sorted(rows, key=lambda row: (row["ts_decided_ns"] or 0, row["decision_id"]))


def _approved(stories: dict[str, Story], approvals: Iterable[ApprovedOrder]) -> dict[str, Story]:
    """Gives each story its approval; the stories by approval_id."""
    by_approval: dict[str, Story] = {}
    for approved in approvals:
        if approved.action in (OrderAction.CANCEL, OrderAction.AMEND):
            continue
        key = approved.approval.decision_id
        story = stories.get(key, Story())
        if story.approved is not None:
            # A command such as a flattening is answered by several orders.
            key, story = approved.approval.approval_id, Story()
        stories[key] = story
        story.approved = approved
        by_approval[approved.approval.approval_id] = story
    return by_approval


def _row(story: Story) -> dict[str, Any]:
    subject = story.decision if story.approved is None else story.approved.order
    assert subject is not None, "a story begins with a decision or an approval"
    filled, average = _filled(story.fills)
    quantity = subject.quantity
    side = subject.side or _wished_side(story.decision)
    return {
        **_times(story),
        "account_id": subject.account_id,
        "group_id": subject.group_id,
        "instrument_id": subject.instrument_id,
        "client_order_id": subject.client_order_id or "",
        "decision_id": _decision_id(story),
        "side": "" if side is None else side.value,
        "order_type": subject.order_type.value,
        "quantity": None if quantity is None else float(quantity),
        "limit_price": _number(subject.limit_price),
        "stop_price": _number(subject.stop_price),
        "filled_quantity": float(filled),
        "average_price": None if average is None else float(average),
        **_end(story),
    }


def _decision_id(story: Story) -> str:
    if story.decision is not None:
        return story.decision.decision_id
    assert story.approved is not None
    return story.approved.approval.decision_id


def _wished_side(decision: Decision | None) -> Side | None:
    """Of a target that never became an order: unknown, unless the decision says it."""
    return None if decision is None else decision.side


def _times(story: Story) -> dict[str, int | None]:
    sent = [
        update.ts_event_ns
        for update in story.updates
        if update.command is not None and update.command.kind is CommandKind.SUBMIT
    ]
    decided = story.decision or story.approved
    assert decided is not None
    ends = [end.ts_event_ns for end in story.updates if end.is_terminal]
    ends += [] if story.denial is None else [story.denial.ts_event_ns]
    return {
        "ts_decided_ns": decided.ts_event_ns,
        "ts_approved_ns": None if story.approved is None else story.approved.approval.issued_ns,
        "ts_sent_ns": min(sent, default=None),
        "ts_done_ns": max(ends, default=None),
    }


def _end(story: Story) -> dict[str, str]:
    if story.denial is not None and story.approved is None:
        return {"status": "DENIED", "code": story.denial.code.value}
    if story.approved is None:
        # Neither approved nor denied yet: the run ended before risk answered.
        return {"status": "PENDING", "code": ""}
    terminal = [update for update in story.updates if update.is_terminal]
    last = (terminal or story.updates)[-1:] or []
    if not last:
        return {"status": "APPROVED", "code": ""}
    return {"status": last[0].status.value, "code": last[0].code}


def _filled(fills: Sequence[Fill]) -> tuple[Decimal, Decimal | None]:
    quantity = sum((fill.quantity for fill in fills), Decimal(0))
    if not quantity:
        return quantity, None
    return quantity, sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / quantity


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
