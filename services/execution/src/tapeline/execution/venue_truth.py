"""A venue's statement against our book: what is new, what differs, and for how long.

Nothing is guessed. A difference seen once may be a fill on its way; one that lasts is a drift, for
which the instrument only reduces until the figures agree again or an operator accepts them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ONE, ZERO, fixed
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.orders import VenueEntry, VenueStatement
from tapeline.execution.external_state import Difference, Drift, ExternalBook, Suspicion
from tapeline.runtime.ids import derive_id

SAME_MIN: Final = 2
"""Statements in a row with the same difference and nothing booked in between: it is real."""
SEEN_MIN: Final = 10
"""Statements in a row with some difference while the account trades on: it is real."""
ENTRY_KEPT_NS: Final = 24 * 3600 * 1_000_000_000
"""How long an entry's id is known; an older entry that is not known is not booked."""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a statement says beside a book."""

    entries: tuple[VenueEntry, ...]
    """not booked yet"""
    overdue: tuple[VenueEntry, ...]
    """not known, and too old to tell whether they were booked"""
    suspicions: dict[str, Suspicion]
    opened: tuple[Difference, ...]
    """have just lasted long enough"""
    settled: tuple[Drift, ...]
    """were drifts; the figures agree again"""


def look(book: ExternalBook, statement: VenueStatement, live: Collection[str], now_ns: int) -> Look:
    """Compares; `live` are the client order ids that may be open at the venue."""
    fresh = [entry for entry in statement.entries if entry.entry_id not in book.entries]
    entries = tuple(entry for entry in fresh if entry.ts_event_ns > now_ns - ENTRY_KEPT_NS)
    cash = dict(book.ledger.cash)
    for entry in entries:
        cash[entry.currency] = fixed(cash.get(entry.currency, ZERO) + entry.amount)
    bookings = book.bookings + len(entries)
    differences = {
        found.subject: found
        for found in (
            *_positions(book, statement),
            *_cash(cash, statement),
            *_orders(statement, live),
        )
    }
    suspicions = {
        subject: _suspicion(book.suspicions.get(subject), found, bookings)
        for subject, found in differences.items()
    }
    return Look(
        entries=entries,
        overdue=tuple(entry for entry in fresh if entry not in entries),
        suspicions=suspicions,
        opened=tuple(
            item.difference
            for item in suspicions.values()
            if (item.same >= SAME_MIN or item.seen >= SEEN_MIN)
            and not _is_known(book, item.difference)
        ),
        settled=tuple(
            drift for subject, drift in sorted(book.drifts.items()) if subject not in differences
        ),
    )


def drift_id(run_id: str, account_id: str, difference: Difference) -> str:
    """The same figures have the same id: who accepts it accepts these figures and no others."""
    figures = f"{difference.subject}/{difference.ours:f}/{difference.theirs:f}"
    return derive_id(run_id, f"account/{account_id}", figures, "VenueDrift")


def _is_known(book: ExternalBook, difference: Difference) -> bool:
    known = book.drifts.get(difference.subject)
    return known is not None and _figures(known.difference) == _figures(difference)


def _figures(difference: Difference) -> tuple[Decimal, Decimal]:
    return (difference.ours, difference.theirs)


def _suspicion(before: Suspicion | None, difference: Difference, bookings: int) -> Suspicion:
    if before is None:
        return Suspicion(difference=difference, bookings=bookings)
    is_same = before.bookings == bookings and _figures(before.difference) == _figures(difference)
    return Suspicion(
        difference=difference,
        bookings=bookings,
        same=before.same + 1 if is_same else 1,
        seen=before.seen + 1,
    )


def _positions(book: ExternalBook, statement: VenueStatement) -> Iterator[Difference]:
    theirs = {item.instrument_id: item for item in statement.positions}
    for name in sorted({*theirs, *book.ledger.lines}):
        ours, listed = book.ledger.net_quantity(name), theirs.get(name)
        quantity = ZERO if listed is None else fixed(listed.quantity)
        if ours != quantity:
            yield Difference(
                subject=f"position/{name}",
                instrument_id=name,
                ours=fixed(ours),
                theirs=quantity,
                price=None if listed is None else listed.price,
            )


def _cash(cash: dict[str, Decimal], statement: VenueStatement) -> Iterator[Difference]:
    theirs = {item.currency: fixed(item.amount) for item in statement.balances}
    for name in sorted({*theirs, *cash}):
        ours, amount = fixed(cash.get(name, ZERO)), theirs.get(name, ZERO)
        if ours != amount:
            yield Difference(subject=f"cash/{name}", instrument_id="", ours=ours, theirs=amount)


def _orders(statement: VenueStatement, live: Collection[str]) -> Iterator[Difference]:
    """Orders that the venue holds open and we do not."""
    for order in statement.open_orders:
        if order.client_order_id not in live:
            name = order.client_order_id or f"venue:{order.venue_order_id}"
            yield Difference(
                subject=f"order/{name}",
                instrument_id=order.instrument_id,
                ours=fixed(ZERO),
                theirs=fixed(ONE),
            )


def looked(
    book: ExternalBook, statement: VenueStatement, live: Collection[str], now_ns: int
) -> ExternalBook:
    """The book after a statement: what it made us suspect, and what may be forgotten."""
    found = look(book, statement, live, now_ns)
    return replace(
        book,
        suspicions=found.suspicions,
        entries=_kept(book.entries, now_ns),
        busted=_kept(book.busted, now_ns),
    )


def _kept(ids: dict[str, int], now_ns: int) -> dict[str, int]:
    return {name: until for name, until in ids.items() if until > now_ns}
