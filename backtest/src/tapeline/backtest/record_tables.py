"""Gathers the records of a run as it says them, for the tables that an export gives of it."""

from __future__ import annotations

from typing import Any

from tapeline.agents.config_book import ConfigBook
from tapeline.backtest.export import Recorded, Told, tables_from
from tapeline.backtest.run_tables import RunTables
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.market import Bar, MarkPrice
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderUpdate
from tapeline.contracts.risk import Denial
from tapeline.runtime.core import Output


class RecordTables:
    """Hears a run; `tables` gives what it comes to."""

    def __init__(self, book: ConfigBook) -> None:
        self._found = Recorded(
            book=book,
            decisions=[],
            approvals=[],
            denials=[],
            updates=[],
            fills=[],
            cash=[],
            marks=[],
            bars=[],
        )
        self._lists: dict[tuple[str, type[Any]], list[Any]] = {
            (topics.DECISIONS, Decision): self._found.decisions,
            (topics.APPROVED_ORDERS, ApprovedOrder): self._found.approvals,
            (topics.RISK_EVENTS, Denial): self._found.denials,
            (topics.ORDER_UPDATES, OrderUpdate): self._found.updates,
            (topics.FILLS, Fill): self._found.fills,
            (topics.MARKS, MarkPrice): self._found.marks,
            (topics.BARS, Bar): self._found.bars,
        }

    def add(self, output: Output) -> None:
        """Takes one output; what no table shows is passed over."""
        kept = self._lists.get((output.topic, type(output.record)))
        if kept is not None:
            kept.append(output.record)
        elif output.topic == topics.ACCOUNT_EVENTS:
            self._found.cash.append(output.record)

    def tables(self, told: Told, events: int) -> RunTables:
        """The run as tables; `events` is how many records of the market it had."""
        return tables_from(self._found, told, events)
