"""What the accounts of a recorded run were worth over time, from its fills, marks and cash.

The bookings are those of tapeline.accounting, prices and rates those that risk values with: the
last mark, else the last fill; for another currency the mark of its pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tapeline.accounting.exposure import Valuation, valuation
from tapeline.accounting.ledger import Booking, Ledger
from tapeline.accounting.numbers import ONE, converted, exact, fixed, notional
from tapeline.contracts.accounts import (
    CashAdjustment,
    CorporateAction,
    FundingPayment,
    PositionCorrection,
)
from tapeline.contracts.config import Account, Instrument
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import Fill, Side
from tapeline.risk.state import RiskState
from tapeline.risk.worth import believable, pair_of, price_of, rate_of, unit_of
from tapeline.runtime.exits import USAGE, Failure


class WorthUnknown(Failure):
    """Something is held that has no price, or no rate into the account's currency."""

    exit_code = USAGE


@dataclass(slots=True, kw_only=True)
class Books:
    """The accounts of a run and what their holdings are worth."""

    accounts: Mapping[str, Account]
    instruments: Mapping[str, Instrument]
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    market: RiskState = field(default_factory=RiskState)
    dividends: dict[str, Decimal] = field(default_factory=dict)
    """by action_id: what was paid on what was held then, in the dividend's currency"""
    rates: dict[int, Decimal | None] = field(default_factory=dict)
    """of what was booked in another currency, by the record's identity: what one unit of it was
    worth in the base currency then"""

    def __post_init__(self) -> None:
        """Opens every account with its initial cash."""
        for name, account in self.accounts.items():
            cash = fixed(account.initial_cash)
            self.ledgers[name] = Ledger().deposit(account.base_currency, cash)
        self.market.instruments.update(self.instruments)
        for instrument in self.instruments.values():
            pair = pair_of(instrument)
            if pair:
                self.market.currency_pairs[pair] = instrument.instrument_id

    @exact
    def take(self, record: Any) -> None:
        """Books one record."""
        if isinstance(record, MarkPrice):
            if believable(record):
                self.market.marks[record.instrument_id] = record
            return
        ledger = self.ledgers.get(getattr(record, "account_id", ""))
        if ledger is not None:
            self.ledgers[record.account_id] = self._after(ledger, record)
            if hasattr(record, "currency"):
                base = self.accounts[record.account_id].base_currency
                self.rates[id(record)] = rate_of(self.market, record.currency, base)

    def _after(self, ledger: Ledger, record: Any) -> Ledger:
        match record:
            case Fill():
                self.market.fill_prices[record.instrument_id] = fixed(record.price)
                signed = record.quantity if record.side is Side.BUY else -record.quantity
                return ledger.book(self._booking(record, signed, record.currency))
            case CashAdjustment() | FundingPayment():
                return ledger.deposit(record.currency, record.amount)
            case CorporateAction():
                held = ledger.net_quantity(record.instrument_id)
                self.dividends[record.action_id] = notional(held, record.dividend)
                return ledger.corporate_action(
                    record.instrument_id,
                    split_ratio=record.split_ratio,
                    dividend=record.dividend,
                    currency=record.currency,
                )
            case PositionCorrection():
                self.market.fill_prices.setdefault(record.instrument_id, fixed(record.price))
                instrument = self.instruments.get(record.instrument_id)
                base = self.accounts[record.account_id].base_currency
                currency = base if instrument is None else instrument.currency
                return ledger.book(self._booking(record, record.quantity, currency))
            case _:
                return ledger

    def _booking(self, record: Any, signed: Decimal, currency: str) -> Booking:
        instrument = self.instruments.get(record.instrument_id)
        return Booking(
            group_id=record.group_id,
            instrument_id=record.instrument_id,
            quantity=signed,
            price=record.price,
            currency=currency,
            multiplier=ONE if instrument is None else instrument.multiplier,
            commission=record.commission if isinstance(record, Fill) else fixed(Decimal(0)),
        )

    def worth(self, account_id: str) -> Valuation:
        """An account at the marks so far, in its base currency; raises WorthUnknown."""
        ledger, base = self.ledgers[account_id], self.accounts[account_id].base_currency
        units, rates = {}, {}
        for instrument_id, lines in ledger.lines.items():
            if any(line.quantity for line in lines.values()):
                unit = unit_of(self.market, instrument_id, base)
                units[instrument_id] = _known(unit, account_id, instrument_id)
        for currency in ledger.cash:
            rates[currency] = _known(rate_of(self.market, currency, base), account_id, currency)
        return valuation(ledger, units, rates)

    def last_prices(self) -> dict[str, Decimal]:
        """What each instrument that was traded is valued at now."""
        traded = {name for ledger in self.ledgers.values() for name in ledger.lines}
        found = {name: price_of(self.market, name) for name in sorted(traded)}
        return {name: price for name, price in found.items() if price is not None}

    def rate_then(self, record: Any) -> float | None:
        """What one unit of a record's currency was worth in the base currency when it was booked;
        None for what was not booked."""
        rate = self.rates.get(id(record))
        return None if rate is None else float(rate)

    def last_rates(self) -> dict[str, Decimal]:
        """What one unit of each currency that the accounts hold is worth in theirs now."""
        held = {
            (currency, self.accounts[name].base_currency): name
            for name, ledger in self.ledgers.items()
            for currency in ledger.cash
        }
        return {
            currency: _known(rate_of(self.market, currency, base), name, currency)
            for (currency, base), name in sorted(held.items())
        }

    def in_base(self, account_id: str, amount: Decimal, currency: str) -> Decimal:
        """An amount in the account's base currency, at the last rate; raises WorthUnknown."""
        rate = rate_of(self.market, currency, self.accounts[account_id].base_currency)
        return converted(amount, _known(rate, account_id, currency))


def _known(found: Any, account_id: str, name: str) -> Any:
    if found is None:
        raise WorthUnknown(
            f"Account {account_id} holds {name}, and the run has no price or rate of it.",
            "Publish its instrument record, or keep the topic marks as long as the run.",
        )
    return found


def equity_rows(
    books: Books, booked: Iterable[Any], marks: Iterable[MarkPrice], moments: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of the table equity: one an account at each of the ascending `moments` (nanoseconds),
    with everything that happened up to then, and a last one behind all that happened."""
    events = [
        *((mark.ts_event_ns, 0, mark) for mark in marks),
        *((record.ts_event_ns, 1, record) for record in booked),
    ]
    events.sort(key=lambda item: item[:2])
    rows: list[dict[str, Any]] = []
    last_ns = max([moments[-1] if moments else 0, events[-1][0] if events else 0])
    position = 0
    for moment in sorted({*moments, last_ns}):
        while position < len(events) and events[position][0] <= moment:
            books.take(events[position][2])
            position += 1
        rows += [_row(books, account_id, moment) for account_id in sorted(books.accounts)]
    return rows


def _row(books: Books, account_id: str, moment: int) -> dict[str, Any]:
    worth = books.worth(account_id)
    return {
        "ts_event_ns": moment,
        "account_id": account_id,
        "cash": float(worth.cash),
        "equity": float(worth.nav),
        "gross_exposure": float(worth.gross),
        "net_exposure": float(worth.net),
    }
