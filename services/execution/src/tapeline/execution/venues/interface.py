"""What an adapter to an external venue is, and how it is found.

An adapter translates between VenueCommand and VenueReport and a venue's own protocol. It decides
nothing: no retry of a send, no rounding, no guess about what silence means. Everything it says is
recorded and read back from `venue-reports` before the order life cycle sees it.

Adapters are found by entry points of the group `tapeline.venues`: name -> AdapterFactory.

Errors:
    VenueUnavailable   the request certainly did not leave; nothing was sent
    VenueThrottled     the venue refused to look at the request for now, and says until when
    UnknownAdapter     no installed package offers an adapter of that name
A request that may have left and was not answered is no error but a TIMEOUT report.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Final, Protocol, TypeAlias

from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.orders import (
    Side,
    TradeBust,
    VenueBalance,
    VenueCommand,
    VenueEntry,
    VenueReport,
)

GROUP: Final = "tapeline.venues"


class VenueUnavailable(Exception):
    """The request certainly did not leave."""

    remedy = "Look at the venue's status page and at the network; nothing was sent."


class VenueThrottled(VenueUnavailable):
    """The venue refused to look at the request (429, 418): it did nothing with it."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        """nothing may be asked before; the venue's own word"""


class UnknownAdapter(Exception):
    """No installed package offers an adapter of that name."""

    remedy = (
        "Install the package that offers it, or correct `adapter` in the venue's config record."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order as a venue lists it."""

    client_order_id: str
    venue_order_id: str
    account_id: str
    instrument_id: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPosition:
    """A position as a venue lists it."""

    account_id: str
    instrument_id: str
    quantity: Decimal
    """signed"""
    price: Decimal | None = None
    """what the venue values one unit at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterContext:
    """What an adapter is made with."""

    run_id: str
    venue: Venue
    instruments: Sequence[Instrument]
    accounts: Sequence[Account]
    now_ns: Callable[[], int]
    """session time, nanoseconds UTC, for `ts_init_ns` of its reports"""


class VenueAdapter(Protocol):
    """One venue. Every method is bounded in time; report ids derive from the venue's own ids."""

    async def submit(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Sends an order, once. Returns what the venue answered at once: ACCEPTED, REJECTED,
        fills, TIMEOUT, or nothing when the answer comes over the stream. The client_order_id is
        the venue's key against duplicates: the same command again makes no second order. The time
        on the request is the command's, so that the venue's receive window bounds how late it can
        count, however long this process was paused. Raises VenueUnavailable, VenueThrottled."""
        ...

    async def cancel(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Asks for a cancel. CANCELED, CANCEL_REJECTED (the order is not open), TIMEOUT, or
        nothing when the answer comes over the stream. Raises VenueUnavailable."""
        ...

    async def amend(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Asks for new quantity and prices of an open order (`order_view.order_of` gives them).
        ACCEPTED with notice AMENDED or AMEND_REJECTED, TIMEOUT, or nothing when the answer comes
        over the stream. The order keeps its client_order_id. Raises VenueUnavailable."""
        ...

    async def query(self, command: VenueCommand) -> Sequence[VenueReport]:
        """What the venue knows of an order now, or NOT_FOUND. Asking changes nothing.
        Raises VenueUnavailable."""
        ...

    async def poll_fills(self, account_id: str, since_ns: int) -> Sequence[VenueReport | TradeBust]:
        """Every fill and bust of the account since a venue time, under the ids that the stream
        gives them. Raises VenueUnavailable."""
        ...

    async def poll_orders(self, account_id: str) -> Sequence[OpenOrder]:
        """The account's open orders. Raises VenueUnavailable."""
        ...

    async def poll_positions(self, account_id: str) -> Sequence[HeldPosition]:
        """The account's positions that are not zero. Raises VenueUnavailable."""
        ...

    async def poll_balances(self, account_id: str) -> Sequence[VenueBalance]:
        """The account's cash by currency. Raises VenueUnavailable."""
        ...

    async def poll_entries(self, account_id: str, since_ns: int) -> Sequence[VenueEntry]:
        """Cash moved by other than fills since a venue time: deposits, withdrawals, fees,
        funding, under the venue's ids. Raises VenueUnavailable."""
        ...

    def stream(self, account_id: str) -> AsyncIterator[VenueReport | TradeBust]:
        """Reports as they happen, in the venue's order. It ends when the connection does."""
        ...

    async def close(self) -> None:
        """Lets go of connections; idempotent."""
        ...


AdapterFactory: TypeAlias = Callable[[AdapterContext], VenueAdapter]


def adapter_names() -> tuple[str, ...]:
    """Names of the installed adapters."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def adapter_factory(name: str) -> AdapterFactory:
    """The adapter of a name; raises UnknownAdapter, which lists those there are."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            factory: AdapterFactory = point.load()
            return factory
    known = ", ".join(adapter_names()) or "none"
    raise UnknownAdapter(f"No adapter {name!r} is installed; there are: {known}.")
