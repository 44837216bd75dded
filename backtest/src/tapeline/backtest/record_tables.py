"""Turns the records of a run into RunTables, one by one, whatever they were read from.

An order's row begins with the decision that asked for it and ends with its last update; a decision
that was denied is a row with the code. Several approvals of one decision are rows of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tapeline.backtest.run_tables import COLUMNS, Description, RunTables, table
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Account
from tapeline.contracts.market import Bar
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderStatus, OrderUpdate
from tapeline.contracts.risk import Denial, PortfolioSnapshot

Row = dict[str, Any]
SENT = (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED)


class RecordTables:
    """Takes records in the order of a run; `tables` gives what they come to."""

    def __init__(self, accounts: Mapping[str, Account], interval_ns: int) -> None:
        """`interval_ns` is the length of the bars that are kept."""
        self._accounts = accounts
        self._interval_ns = interval_ns
        self._rows: dict[str, list[Row]] = {name: [] for name in COLUMNS}
        self._decisions: dict[str, Decision] = {}
        self._orders: dict[str, Row] = {}
        self._last_worth: dict[str, PortfolioSnapshot] = {}
        self.fees = Decimal(0)

    def add(self, record: Any) -> None:
        """Takes one record; those that no table shows are passed over."""
        match record:
            case Bar():
                self._bar(record)
            case Fill():
                self._fill(record)
            case Decision():
                self._decisions[record.decision_id] = record
            case ApprovedOrder():
                self._approved(record)
            case Denial():
                self._denied(record)
            case OrderUpdate():
                self._updated(record)
            case PortfolioSnapshot():
                self._worth(record)
            case CashAdjustment() | FundingPayment():
                self._cash(record)
            case _:
                pass

    def description(self, run_id: str, kind: str, **more: Any) -> Description:
        """Counts and exact sums; `more` are further fields of it."""
        currencies = dict.fromkeys(account.base_currency for account in self._accounts.values())
        cash = sum((account.initial_cash for account in self._accounts.values()), Decimal(0))
        traded = dict.fromkeys(row["instrument_id"] for row in self._rows["bars"])
        return Description(
            run_id=run_id,
            kind=kind,
            starting_cash=plain(cash),
            base_currency="+".join(currencies),
            instruments=tuple(sorted(traded)),
            interval_ns=self._interval_ns,
            bars=len(self._rows["bars"]),
            orders=sum(1 for row in self._order_rows() if row["client_order_id"]),
            fills=len(self._rows["fills"]),
            fees=plain(self.fees),
            final_equity=plain(self.final_equity()),
            **more,
        )

    def final_equity(self) -> Decimal:
        """Of all accounts, as risk last saw it; an account without a word of it has its cash."""
        return sum(
            (
                self._last_worth[name].nav if name in self._last_worth else account.initial_cash
                for name, account in self._accounts.items()
            ),
            Decimal(0),
        )

    def tables(self, description: Description) -> RunTables:
        """All tables, in order of time."""
        rows = {**self._rows, "orders": self._order_rows()}
        order = {"orders": "ts_decided_ns", "bars": "ts_close_ns"}
        return RunTables(
            description,
            {
                name: table(name, rows[name]).sort(
                    order.get(name, "ts_event_ns"), maintain_order=True
                )
                for name in COLUMNS
            },
        )

    # ---- one table each

    def _bar(self, bar: Bar) -> None:
        if bar.interval_ns != self._interval_ns:
            return
        self._rows["bars"].append(
            {
                "ts_open_ns": bar.ts_open_ns,
                "ts_close_ns": bar.ts_event_ns,
                "instrument_id": bar.instrument_id,
                "open": bar.open,
                "high": bar.high,
                "low": bar.low,
                "close": bar.close,
                "volume": bar.volume,
            }
        )

    def _fill(self, fill: Fill) -> None:
        self.fees += fill.commission
        self._rows["fills"].append(
            {
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
                "slippage": number(fill.slippage),
            }
        )

    def _approved(self, approved: ApprovedOrder) -> None:
        order, decision_id = approved.order, approved.approval.decision_id
        decision = self._decisions.get(decision_id)
        decided_ns = approved.ts_event_ns if decision is None else decision.ts_event_ns
        known = self._orders.get(order.client_order_id)
        if known is not None:  # an amendment or a cancellation of an order that is under way
            return
        self._orders[order.client_order_id] = {
            "ts_decided_ns": decided_ns,
            "ts_approved_ns": approved.ts_event_ns,
            "account_id": order.account_id,
            "group_id": order.group_id,
            "instrument_id": order.instrument_id,
            "client_order_id": order.client_order_id,
            "decision_id": decision_id,
            "side": order.side.value,
            "order_type": order.order_type.value,
            "quantity": float(order.quantity),
            "limit_price": number(order.limit_price),
            "stop_price": number(order.stop_price),
            "filled_quantity": 0.0,
            "status": OrderStatus.APPROVED.value,
            "code": "",
        }

    def _denied(self, denial: Denial) -> None:
        for decision_id in (denial.decision_id, *denial.also_decision_ids):
            decision = self._decisions.get(decision_id)
            self._orders[f"denied/{decision_id}"] = {
                "ts_decided_ns": denial.ts_event_ns if decision is None else decision.ts_event_ns,
                "ts_done_ns": denial.ts_event_ns,
                "account_id": denial.account_id,
                "group_id": denial.group_id,
                "instrument_id": denial.instrument_id,
                "client_order_id": "",
                "decision_id": decision_id,
                "side": "" if decision is None or decision.side is None else decision.side.value,
                "order_type": "" if decision is None else decision.order_type.value,
                "quantity": None if decision is None else number(decision.quantity),
                "filled_quantity": 0.0,
                "status": OrderStatus.DENIED.value,
                "code": denial.code.value,
            }

    def _updated(self, update: OrderUpdate) -> None:
        row = self._orders.get(update.client_order_id)
        if row is None:
            return  # a child of a schedule: its parent's updates tell the sum
        if update.status in SENT:
            row.setdefault("ts_sent_ns", update.ts_event_ns)
        row["status"] = update.status.value
        row["code"] = update.code
        row["filled_quantity"] = float(update.filled_quantity)
        row["average_price"] = number(update.average_price)
        if update.is_terminal:
            row["ts_done_ns"] = update.ts_event_ns

    def _worth(self, worth: PortfolioSnapshot) -> None:
        self._last_worth[worth.account_id] = worth
        self._rows["equity"].append(
            {
                "ts_event_ns": worth.ts_event_ns,
                "account_id": worth.account_id,
                "cash": float(worth.cash),
                "equity": float(worth.nav),
                "gross_exposure": float(worth.gross_exposure),
                "net_exposure": float(worth.net_exposure),
            }
        )

    def _cash(self, moved: CashAdjustment | FundingPayment) -> None:
        if isinstance(moved, FundingPayment):
            instrument_id, kind = moved.instrument_id, "funding"
        else:
            instrument_id, kind = "", moved.reason
        self._rows["cash"].append(
            {
                "ts_event_ns": moved.ts_event_ns,
                "account_id": moved.account_id,
                "instrument_id": instrument_id,
                "kind": kind,
                "amount": float(moved.amount),
            }
        )

    def _order_rows(self) -> list[Row]:
        return list(self._orders.values())


def number(value: Decimal | None) -> float | None:
    """For a table."""
    return None if value is None else float(value)


def plain(value: Decimal) -> str:
    """Without exponent and final zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
