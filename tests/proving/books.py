"""The same books from four places: the fills topic, PostgreSQL, risk, and the paper venue."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from proving.playing import Finished
from tapeline.accounting.numbers import ZERO
from tapeline.audit.queries import reading_connection
from tapeline.contracts import topics
from tapeline.contracts.config import Account
from tapeline.contracts.orders import Fill, Side
from tapeline.execution import state as execution_state
from tapeline.execution.state import ExecutionState
from tapeline.risk import state as risk_state
from tapeline.risk.state import RiskState
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.recovery import last_snapshot

Figures = dict[tuple[str, str], Decimal]
"""(account, instrument or currency) -> signed amount; nothing that is zero"""


@dataclass(frozen=True, kw_only=True)
class Books:
    """Positions and cash; two Books are equal to the last unit, or not at all."""

    positions: Figures
    cash: Figures


@dataclass(frozen=True, kw_only=True)
class LastStates:
    """The last snapshot of every shard."""

    risk: tuple[RiskState, ...]
    execution: tuple[ExecutionState, ...]

    @property
    def held_open(self) -> frozenset[str]:
        """Approvals whose orders execution still works."""
        return frozenset(
            order.approval_id for state in self.execution for order in state.orders.values()
        )


def last_states(run: Finished) -> LastStates:
    """What the shards wrote when they were told to stop."""
    reader = LogReader(confluent_config(run.settings), run.settings.topic_prefix)
    accounts = reader.partition_count(topics.JOURNAL) // 2

    def state(slot: int, shard: int) -> bytes:
        snapshot = last_snapshot(reader, slot * accounts + shard)
        assert snapshot is not None, f"no snapshot of slot {slot}, shard {shard}"
        return zlib.decompress(snapshot.state)

    shards = run.run.shards
    return LastStates(
        risk=tuple(risk_state.load(state(0, shard)) for shard in shards),
        execution=tuple(execution_state.load(state(1, shard)) for shard in shards),
    )


def without_zeros(figures: Figures) -> Figures:
    """A flat position is no position."""
    return {key: figures[key] for key in sorted(figures) if figures[key]}


def folded(fills: Iterable[Fill], accounts: Iterable[Account]) -> Books:
    """Initial cash and every fill, added up here and now; instruments of multiplier one."""
    positions: Figures = {}
    cash: Figures = {
        (account.account_id, account.base_currency): account.initial_cash for account in accounts
    }
    for fill in fills:
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        held, money = (fill.account_id, fill.instrument_id), (fill.account_id, fill.currency)
        positions[held] = positions.get(held, ZERO) + signed
        cash[money] = cash.get(money, ZERO) - signed * fill.price - fill.commission
    return Books(positions=without_zeros(positions), cash=without_zeros(cash))


def in_postgres(run: Finished, accounts: Iterable[Account]) -> Books:
    """What the audited rows add up to, added up by PostgreSQL."""
    signed = "CASE side WHEN 'BUY' THEN quantity ELSE -quantity END"
    positions_query = f"""
        SELECT account_id, instrument_id, sum({signed}) FROM audit.fills
        WHERE run_id = %s GROUP BY 1, 2
    """
    cash_query = f"""
        SELECT account_id, currency, sum(-({signed}) * price - commission) FROM audit.fills
        WHERE run_id = %s GROUP BY 1, 2
    """
    cash: Figures = {
        (account.account_id, account.base_currency): account.initial_cash for account in accounts
    }
    with reading_connection(run.database_url) as connection:
        positions: Figures = {
            (account_id, instrument_id): quantity
            for account_id, instrument_id, quantity in connection.execute(
                positions_query, (run.run.name,)
            )
        }
        for account_id, currency, change in connection.execute(cash_query, (run.run.name,)):
            cash[account_id, currency] = cash.get((account_id, currency), ZERO) + change
    return Books(positions=without_zeros(positions), cash=without_zeros(cash))


def at_the_venue(states: LastStates) -> Books:
    """The paper venue's own ledger; it books every account it knows on every shard."""
    positions: Figures = {}
    cash: Figures = {}
    for shard, state in enumerate(states.execution):
        for account_id, books in state.paper.accounts.items():
            if state.accounts[account_id].shard != shard:
                continue
            positions.update({(account_id, name): held for name, held in books.positions.items()})
            cash.update({(account_id, name): money for name, money in books.cash.items()})
    return Books(positions=without_zeros(positions), cash=without_zeros(cash))


def at_risk(states: LastStates) -> Books:
    """Risk's ledgers, groups added up."""
    positions: Figures = {}
    cash: Figures = {}
    for state in states.risk:
        for account_id, account in state.accounts.items():
            ledger = account.ledger
            for name in ledger.lines:
                positions[account_id, name] = ledger.net_quantity(name)
            cash.update({(account_id, name): money for name, money in ledger.cash.items()})
    return Books(positions=without_zeros(positions), cash=without_zeros(cash))
