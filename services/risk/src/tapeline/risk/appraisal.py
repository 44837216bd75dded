"""What accounts are worth, kept line by line: of all lines of an account a decision moves one.

The part of a line is kept with the very values that it was made of, and counts for as long as the
state still holds these and no others. So nobody has to say that something has changed. Sums of
money are exact: with the old part taken off and the new one added they are what adding everything
up would give, to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import ZERO, converted
from tapeline.accounting.position import Position
from tapeline.contracts.config import Instrument
from tapeline.contracts.frozen import acyclic, quick
from tapeline.contracts.market import MarkPrice
from tapeline.risk.state import AccountState, Reserve, RiskState
from tapeline.risk.worth import Worth, combined, rate_of, unit_of

Lines: TypeAlias = Mapping[str, Position]
Reserves: TypeAlias = Mapping[str, Reserve]


@quick
@dataclass(frozen=True, slots=True)
class Source:
    """What the worth of a line is made of; all of them values that are replaced, never changed."""

    lines: Lines | None
    reserves: Reserves | None
    price: MarkPrice | Decimal | None
    """the mark, else the price of the last fill"""
    instrument: Instrument | None
    rate: Decimal | None
    """for an instrument in another currency than the account's"""


@acyclic
@dataclass(frozen=True, slots=True)
class Figures:
    """What a line adds to each sum of its account, base currency; see Worth."""

    gross: Decimal = ZERO
    net: Decimal = ZERO
    gross_of_lines: Decimal = ZERO
    worst: Decimal = ZERO
    buying: Decimal = ZERO
    selling: Decimal = ZERO
    opening_value: Decimal = ZERO
    opening_cost: Decimal = ZERO


NO_FIGURES = Figures()


@quick
@dataclass(frozen=True, slots=True)
class Part:
    """One line of an account."""

    source: Source
    figures: Figures | None
    """None where a price or a rate is missing: it must not be guessed"""


@dataclass(slots=True)
class Book:
    """One account, as it was when it was last looked at."""

    base: str
    parts: dict[str, Part] = field(default_factory=dict)
    sums: Figures = NO_FIGURES
    unknown_count: int = 0
    worth: Worth | None = None
    """of all this; None while it is to be made anew"""

    def put(self, instrument_id: str, part: Part) -> None:
        """A line's new part in the place of its old one."""
        self.drop(instrument_id)
        self.parts[instrument_id] = part
        self.worth = None
        if part.figures is None:
            self.unknown_count += 1
        elif part.figures is not NO_FIGURES:
            self.sums = _plus(self.sums, part.figures)

    def drop(self, instrument_id: str) -> None:
        """Without a line."""
        part = self.parts.pop(instrument_id, None)
        if part is None:
            return
        self.worth = None
        if part.figures is None:
            self.unknown_count -= 1
        elif part.figures is not NO_FIGURES:
            self.sums = _minus(self.sums, part.figures)


class Appraiser:
    """Values accounts. It is no part of the state: what it says follows from the state alone."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}
        self._units: dict[tuple[str, str], tuple[Source, Unit | None]] = {}

    def unit(self, state: RiskState, instrument_id: str, base: str) -> Unit | None:
        """What one unit is worth in `base`; None where a price or a rate is missing."""
        known = self._units.get((instrument_id, base))
        if known is not None and _is_source(known[0], state, instrument_id, base):
            return known[1]
        found = unit_of(state, instrument_id, base)
        if instrument_id in state.instruments:
            source = _source(state, instrument_id, base)
            self._units[instrument_id, base] = (source, found)
        return found

    def worth(self, state: RiskState, account: AccountState) -> Worth | None:
        """The account's worth; None where a price or a rate is missing: it must not be guessed."""
        config = account.account
        book = self._books.get(config.account_id)
        if book is None or book.base != config.base_currency:
            book = self._books[config.account_id] = Book(config.base_currency)
        self._follow(book, state, account)
        cash = _cash(state, account)
        if cash is None or book.unknown_count:
            return None
        if book.worth is None or book.worth.cash != cash:
            book.worth = _worth(book, cash)
        return book.worth

    def _follow(self, book: Book, state: RiskState, account: AccountState) -> None:
        """Brings a book to where the account is."""
        lines, reserves, base = account.ledger.lines, account.reserves, book.base
        count = len(lines)
        for instrument_id, held in lines.items():
            pending, part = reserves.get(instrument_id), book.parts.get(instrument_id)
            if (
                part is None
                or part.source.lines is not held
                or part.source.reserves is not pending
                or not _is_source(part.source, state, instrument_id, base)
            ):
                book.put(instrument_id, self._part(state, account, instrument_id))
        for instrument_id, pending in reserves.items():
            if instrument_id in lines:
                continue
            count += 1
            part = book.parts.get(instrument_id)
            if (
                part is None
                or part.source.lines is not None
                or part.source.reserves is not pending
                or not _is_source(part.source, state, instrument_id, base)
            ):
                book.put(instrument_id, self._part(state, account, instrument_id))
        if len(book.parts) > count:
            for gone in [name for name in book.parts if name not in lines and name not in reserves]:
                book.drop(gone)

    def _part(self, state: RiskState, account: AccountState, instrument_id: str) -> Part:
        base = account.account.base_currency
        lines = account.ledger.lines.get(instrument_id)
        reserves = account.reserves.get(instrument_id)
        source = _source(state, instrument_id, base, lines, reserves)
        quantities = [] if lines is None else [line.quantity for line in lines.values()]
        if reserves is None and not any(quantities):
            return Part(source, NO_FIGURES)
        unit = self.unit(state, instrument_id, base)
        return Part(source, None if unit is None else _figures(quantities, reserves, unit))


def worth_of(state: RiskState, account: AccountState) -> Worth | None:
    """The account's worth from nothing, by all of its lines."""
    return Appraiser().worth(state, account)


def _source(
    state: RiskState,
    instrument_id: str,
    base: str,
    lines: Lines | None = None,
    reserves: Reserves | None = None,
) -> Source:
    instrument, mark = state.instruments.get(instrument_id), state.marks.get(instrument_id)
    is_abroad = instrument is not None and instrument.currency != base
    return Source(
        lines,
        reserves,
        state.fill_prices.get(instrument_id) if mark is None else mark,
        instrument,
        rate_of(state, instrument.currency, base) if instrument is not None and is_abroad else None,
    )


def _is_source(source: Source, state: RiskState, instrument_id: str, base: str) -> bool:
    """Whether price, instrument and rate are still those of the state."""
    price: MarkPrice | Decimal | None = state.marks.get(instrument_id)
    if price is None:
        price = state.fill_prices.get(instrument_id)
    instrument = source.instrument
    if price is not source.price or state.instruments.get(instrument_id) is not instrument:
        return False
    if instrument is None or instrument.currency == base:
        return True
    return rate_of(state, instrument.currency, base) == source.rate


def _figures(quantities: list[Decimal], reserves: Reserves | None, unit: Unit) -> Figures:
    """The sums are those of accounting.exposure.valuation, in one pass with the open orders."""
    signed, held = sum(quantities, ZERO), sum(map(abs, quantities), ZERO)
    value = unit.value(signed)
    gross = abs(value)
    gross_of_lines = gross if held == abs(signed) else unit.value(held)
    if reserves is None:
        return Figures(gross, value, gross_of_lines, gross)
    total = combined(reserves)
    opening = total.opening_buying + total.opening_selling
    return Figures(
        gross,
        value,
        gross_of_lines,
        unit.value(max(abs(signed + total.buying), abs(signed - total.selling))),
        # Most lines have orders on one side alone: a figure of nothing need not be worked out.
        unit.value(total.buying) if total.buying else ZERO,
        unit.value(total.selling) if total.selling else ZERO,
        unit.value(opening) if opening else ZERO,
        converted(total.opening_cost, unit.rate),
    )


def _plus(sums: Figures, more: Figures) -> Figures:
    return Figures(
        sums.gross + more.gross,
        sums.net + more.net,
        sums.gross_of_lines + more.gross_of_lines,
        sums.worst + more.worst,
        sums.buying + more.buying,
        sums.selling + more.selling,
        sums.opening_value + more.opening_value,
        sums.opening_cost + more.opening_cost,
    )


def _minus(sums: Figures, less: Figures) -> Figures:
    return Figures(
        sums.gross - less.gross,
        sums.net - less.net,
        sums.gross_of_lines - less.gross_of_lines,
        sums.worst - less.worst,
        sums.buying - less.buying,
        sums.selling - less.selling,
        sums.opening_value - less.opening_value,
        sums.opening_cost - less.opening_cost,
    )


def _worth(book: Book, cash: Decimal) -> Worth:
    sums = book.sums
    return Worth(
        cash=cash,
        nav=cash + sums.net,
        gross=sums.gross,
        net=sums.net,
        gross_of_lines=sums.gross_of_lines,
        worst_gross={name: part.figures.worst for name, part in book.parts.items() if part.figures},
        worst_gross_sum=sums.worst,
        worst_long=sums.net + sums.buying,
        worst_short=sums.selling - sums.net,
        opening_value=sums.opening_value,
        opening_cost=sums.opening_cost,
        pending_value=sums.buying + sums.selling,
    )


def _cash(state: RiskState, account: AccountState) -> Decimal | None:
    """Cash of all currencies; None where a rate is missing."""
    total = ZERO
    for currency, amount in account.ledger.cash.items():
        if currency == account.account.base_currency:
            total += amount
            continue
        rate = rate_of(state, currency, account.account.base_currency) if amount else ZERO
        if rate is None:
            return None
        total += converted(amount, rate)
    return total
