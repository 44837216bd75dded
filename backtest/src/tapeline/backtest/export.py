"""A recorded run (paper, shadow, live) as the tables that reports, parity and notebooks read.

Read from the run's topics alone: nothing is decided again and nothing is written to them.

Errors:
    RecordsLost     part of what an account is made of has been deleted
    WorthUnknown    something was held that has no price
    NotOneCurrency  the accounts have several base currencies, and no sum
    AccountUnknown  an account was asked for that the run does not have
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from tapeline.accounting.numbers import ZERO, exact
from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.backtest.knowledge import knowledge_warnings
from tapeline.backtest.recorded_equity import Books, equity_rows
from tapeline.backtest.recorded_orders import OrderRecords, fill_rows, order_rows
from tapeline.backtest.recorded_topics import RecordedTopics
from tapeline.backtest.run_tables import Description, RunTables, table
from tapeline.backtest.stage_replay import digest_of
from tapeline.contracts import topics
from tapeline.contracts.accounts import CashAdjustment, CorporateAction, FundingPayment
from tapeline.contracts.agents import Decision
from tapeline.contracts.market import Bar, MarkPrice
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderUpdate
from tapeline.contracts.risk import Denial
from tapeline.runtime.codec import digest_body
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.log_reader import LogReader


class NotOneCurrency(Failure):
    """Worth in several currencies has no sum."""

    exit_code = USAGE


class AccountUnknown(Failure):
    """The run has no such account."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a run beside its topics."""

    run_id: str
    title: str = ""
    source: str = ""
    account_id: str = ""
    """only this account; empty for all of them"""
    warnings: tuple[str, ...] = ()
    is_paced: bool = False
    """the data were recorded: a language model may have read about their time"""


@dataclass(slots=True, kw_only=True)
class Recorded:
    """The records that tables are made of."""

    book: ConfigBook
    decisions: list[Decision]
    approvals: list[ApprovedOrder]
    denials: list[Denial]
    updates: list[OrderUpdate]
    fills: list[Fill]
    cash: list[Any]
    marks: list[MarkPrice]
    bars: list[Bar]
    warnings: list[str] = field(default_factory=list)


def export_run(reader: LogReader, told: Told) -> RunTables:
    """The run that the reader's topics hold."""
    recorded_topics = RecordedTopics(reader)
    found = _read(recorded_topics, told.account_id)
    if told.is_paced:
        found.warnings += knowledge_warnings(found.book, found.decisions)
    return tables_from(found, told, recorded_topics.offset_count(topics.TICKS))


def tables_from(found: Recorded, told: Told, events: int) -> RunTables:
    """The run that the records tell of; `events` is how many ticks it had."""
    interval_ns, bars = _bars(found)
    books = Books(accounts=found.book.accounts, instruments=found.book.instruments)
    booked = sorted([*found.cash, *found.fills], key=lambda record: record.ts_event_ns)
    # Once a bar, and with every booking.
    moments = sorted({*(row["ts_close_ns"] for row in bars), *(r.ts_event_ns for r in booked)})
    equity = equity_rows(books, booked, found.marks, moments)
    records = OrderRecords(
        decisions=found.decisions,
        approvals=found.approvals,
        denials=found.denials,
        updates=found.updates,
        fills=found.fills,
    )
    tables = {
        "fills": table("fills", fill_rows(found.fills, books.instruments, books.rate_then)),
        "orders": table("orders", order_rows(records)),
        "equity": table("equity", equity),
        "bars": table("bars", bars),
        "cash": table("cash", [row for event in found.cash for row in _cash_rows(event, books)]),
    }
    return RunTables(_description(told, found, books, tables, (events, interval_ns)), tables)


def _read(recorded: RecordedTopics, account_id: str) -> Recorded:
    book = book_of(recorded.records(topics.CONFIG))
    if account_id:
        book = _only(book, account_id)

    def of(topic: str, kind: Any, *, is_whole: bool = True) -> list[Any]:
        records = recorded.whole(topic) if is_whole else recorded.records(topic)
        return [
            record
            for record in records
            if isinstance(record, kind) and _account_of(record) in (None, *book.accounts)
        ]

    found = Recorded(
        book=book,
        decisions=of(topics.DECISIONS, Decision),
        approvals=of(topics.APPROVED_ORDERS, ApprovedOrder),
        denials=of(topics.RISK_EVENTS, Denial),
        updates=of(topics.ORDER_UPDATES, OrderUpdate),
        fills=sorted(of(topics.FILLS, Fill), key=lambda fill: fill.ts_event_ns),
        cash=of(topics.ACCOUNT_EVENTS, object),
        marks=of(topics.MARKS, MarkPrice, is_whole=False),
        bars=of(topics.BARS, Bar, is_whole=False),
    )
    if recorded.quarantined:
        found.warnings.append(f"{recorded.quarantined} records could not be decoded")
    return found


def _account_of(record: Any) -> str | None:
    """None for records that belong to no account."""
    found: str | None = getattr(getattr(record, "order", record), "account_id", None)
    return found


def _only(book: ConfigBook, account_id: str) -> ConfigBook:
    if account_id not in book.accounts:
        known = ", ".join(sorted(book.accounts)) or "none"
        raise AccountUnknown(f"The run has no account {account_id}.", f"It has: {known}.")
    groups = {name: group for name, group in book.groups.items() if group.account_id == account_id}
    return ConfigBook(
        triggers=book.triggers,
        groups=groups,
        accounts={account_id: book.accounts[account_id]},
        instruments=book.instruments,
    )


def _bars(found: Recorded) -> tuple[int, list[dict[str, Any]]]:
    """The shortest bars, of the instruments that the groups may trade."""
    traded = {name for group in found.book.groups.values() for name in group.instruments}
    traded |= {fill.instrument_id for fill in found.fills}
    bars = [bar for bar in found.bars if bar.instrument_id in traded]
    interval_ns = min((bar.interval_ns for bar in bars), default=0)
    rows = [
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
        for bar in bars
        if bar.interval_ns == interval_ns
    ]
    return interval_ns, sorted(rows, key=lambda row: (row["ts_close_ns"], row["instrument_id"]))


def _cash_rows(event: Any, books: Books) -> list[dict[str, Any]]:
    row = {
        "ts_event_ns": event.ts_event_ns,
        "account_id": event.account_id,
        "instrument_id": "",
        "currency": getattr(event, "currency", None),
        "currency_rate": books.rate_then(event),
    }
    match event:
        case CashAdjustment():
            return [{**row, **_reason(event.reason, books), "amount": float(event.amount)}]
        case FundingPayment():
            kind, amount = "funding", float(event.amount)
        case CorporateAction():
            kind, amount = "dividend", float(books.dividends[event.action_id])
        case _:
            return []
    return [{**row, "instrument_id": event.instrument_id, "kind": kind, "amount": amount}]


def _reason(reason: str, books: Books) -> dict[str, str]:
    """What cash was for: `borrow: SPY.ARCA, 1 night` is borrow, for that instrument."""
    kind, _, told = reason.partition(": ")
    name = told.partition(",")[0]
    return {"kind": kind, "instrument_id": name} if name in books.instruments else {"kind": reason}


@exact
def _description(
    told: Told,
    found: Recorded,
    books: Books,
    tables: Mapping[str, pl.DataFrame],
    counts: tuple[int, int],
) -> Description:
    accounts = found.book.accounts
    currency = _one_currency(sorted({account.base_currency for account in accounts.values()}))
    fees = sum((books.in_base(f.account_id, f.commission, f.currency) for f in found.fills), ZERO)
    final = sum((books.worth(name).nav for name in accounts), ZERO)
    modes = sorted({account.mode.value.lower() for account in accounts.values()})
    return Description(
        run_id=told.run_id,
        kind=modes[0] if len(modes) == 1 else "live" if "live" in modes else "paper",
        title=told.title,
        source=told.source,
        starting_cash=_text(sum((a.initial_cash for a in accounts.values()), ZERO)),
        base_currency=currency,
        instruments=tuple(sorted({fill.instrument_id for fill in found.fills})),
        groups=tuple(sorted(found.book.groups)),
        interval_ns=counts[1],
        parameters=_parameters(found.book),
        warnings=(*told.warnings, *found.warnings),
        events=counts[0],
        bars=tables["bars"].height,
        orders=tables["orders"].height,
        fills=len(found.fills),
        fees=_text(fees),
        final_equity=_text(final),
        last_prices={name: _text(price) for name, price in books.last_prices().items()},
        last_rates={name: _text(rate) for name, rate in books.last_rates().items()},
        digest=digest_of({fill.fill_id: digest_body(fill) for fill in found.fills}),
    )


def _one_currency(currencies: Sequence[str]) -> str:
    if len(currencies) > 1:
        raise NotOneCurrency(
            f"The accounts are in {' and '.join(currencies)}: their worth has no sum.",
            "Export one account at a time with --account.",
        )
    return currencies[0] if currencies else ""


def _parameters(book: ConfigBook) -> dict[str, str]:
    """The implementations and their settings, by name."""
    found = {}
    for trigger in book.triggers.values():
        found[f"trigger {trigger.trigger}"] = trigger.implementation
        for name, value in trigger.parameters.items():
            found[f"trigger {trigger.trigger} {name}"] = value
    for group in book.groups.values():
        found[f"group {group.group_id}"] = group.implementation
        for name, value in group.parameters.items():
            found[f"group {group.group_id} {name}"] = value
    return found


def _text(value: Decimal) -> str:
    """Plainly, without the zeros behind it."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
