"""What a run has come to, kept up to date record by record; for the live view and the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from tapeline.cli.records import Found
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderStatus, OrderUpdate, Side
from tapeline.contracts.risk import Denial, PortfolioSnapshot
from tapeline.contracts.system import Incident, Quarantined, SliceDone, Watermark

WATCHED = (
    topics.DECISIONS,
    topics.APPROVED_ORDERS,
    topics.RISK_EVENTS,
    topics.ORDER_UPDATES,
    topics.FILLS,
    topics.PORTFOLIO,
    topics.PROGRESS,
    topics.INCIDENTS,
    topics.QUARANTINE,
)
"""Topics that a tally needs; the bulk ones are counted by offset alone."""
RESTING = frozenset((OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED))
"""An order that its venue holds: the end of the data leaves it there."""


@dataclass(slots=True)
class GroupTally:
    """What one group has done."""

    decisions: int = 0
    fills: int = 0
    bought: Decimal = Decimal(0)
    sold: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    currency: str = ""


@dataclass(slots=True)
class Tally:
    """Counts and latest values of a run."""

    records: Counter[str] = field(default_factory=Counter)
    approved: int = 0
    approved_by_action: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """approvals that execution refused, by code"""
    terminal: Counter[str] = field(default_factory=Counter)
    unended: dict[str, OrderStatus | None] = field(default_factory=dict)
    """approval -> last status of its order, until it ends"""
    groups: dict[str, GroupTally] = field(default_factory=dict)
    portfolios: dict[str, PortfolioSnapshot] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    finals: set[str] = field(default_factory=set)
    incidents: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    last_fill: Fill | None = None
    approval_times: list[tuple[int, int]] = field(default_factory=list)
    """(session time of the approval, broker append time in ms)"""

    def add(self, found: Found) -> None:
        """Takes one record in."""
        if isinstance(found.record, Watermark):
            return
        self.records[found.raw.topic] += 1
        match found.record:
            case Decision() as decision:
                self._group(decision.group_id).decisions += 1
            case ApprovedOrder() as approved:
                self._approved(approved, found.raw.append_ms)
            case Denial() as denial:
                self.denied[denial.code.value] += 1 + len(denial.also_decision_ids)
            case OrderUpdate() as update:
                self._updated(update)
            case Fill() as fill:
                self._filled(fill)
            case PortfolioSnapshot() as portfolio:
                self.portfolios[portfolio.account_id] = portfolio
            case _:
                self._noted(found.record)

    def _approved(self, approved: ApprovedOrder, append_ms: int) -> None:
        self.approved += 1
        self.approved_by_action[approved.action.value] += 1
        self.unended[approved.approval.approval_id] = None
        self.approval_times.append((approved.approval.issued_ns, append_ms))

    def _updated(self, update: OrderUpdate) -> None:
        if not update.is_terminal:
            self.unended[update.approval_id] = update.status
        else:
            self.unended.pop(update.approval_id, None)
            self.terminal[update.status.value] += 1
            if update.code:
                self.refused[update.code] += 1

    def _noted(self, record: object) -> None:
        match record:
            case SliceDone():
                self.slices[record.reporter] = record.slice
                if record.is_final:
                    self.finals.add(record.reporter)
            case Incident():
                self.incidents[record.code] += 1
            case Quarantined():
                self.quarantined += 1

    def _group(self, group_id: str) -> GroupTally:
        return self.groups.setdefault(group_id, GroupTally())

    def _filled(self, fill: Fill) -> None:
        group = self._group(fill.group_id)
        group.fills += 1
        group.commission += fill.commission
        group.currency = fill.currency
        if fill.side is Side.BUY:
            group.bought += fill.quantity
        else:
            group.sold += fill.quantity
        self.last_fill = fill

    @property
    def resting(self) -> int:
        """Orders that their venue still holds."""
        return sum(status in RESTING for status in self.unended.values())

    def profit(self, group_id: str) -> tuple[Decimal, Decimal]:
        """(realised, unrealised) profit of a group, before commissions, from the last snapshots."""
        lines = [
            line
            for portfolio in self.portfolios.values()
            for line in portfolio.positions
            if line.group_id == group_id
        ]
        zero = Decimal(0)
        realised = sum((line.realized_pnl for line in lines), zero)
        return realised, sum((line.unrealized_pnl for line in lines), zero)
