"""What a feed is: a plug-in that yields raw market records, oldest first.

A feed is found by the name of its entry point in the group `tapeline.feeds`; the entry point is a
function from options (text to text) to a Feed. Feeds know nothing of Kafka, sequence numbers or
the quality gate.

Errors:
    FeedError       the source cannot be used as it is: a person must act
    UnknownFeed     no plug-in has that name
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Protocol

from tapeline.contracts.market import AggressorSide, TickOrigin
from tapeline.runtime import exits

GROUP: Final = "tapeline.feeds"


class FeedError(exits.Failure):
    """A source cannot be used as it is; nothing has been published from it."""

    exit_code = exits.USAGE


class UnknownFeed(FeedError):
    """No plug-in has that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTrade:
    """One trade as the source gives it."""

    instrument_id: str
    price: float
    size: float
    ts_event_ns: int
    trade_id: str = ""
    """the source's id, or empty where it has none"""
    side: AggressorSide = AggressorSide.NONE
    origin: TickOrigin = TickOrigin.EXCHANGE
    is_suspicious: bool = False
    """the source itself marks it so"""
    is_after_gap: bool = False
    """the source knows that something before it is missing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawQuote:
    """Best bid and ask as the source gives them; sizes 0 where it does not say."""

    instrument_id: str
    bid_price: float
    ask_price: float
    ts_event_ns: int
    bid_size: float = 0.0
    ask_size: float = 0.0
    origin: TickOrigin = TickOrigin.EXCHANGE
    is_suspicious: bool = False
    is_after_gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMacro:
    """One value of an economic or volatility series."""

    series: str
    value: float
    ts_event_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFunding:
    """One funding rate of a perpetual contract, at the time it was paid."""

    instrument_id: str
    rate: float
    """fraction of notional paid by longs for one interval"""
    interval_ns: int
    ts_event_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawUnreadable:
    """Something the source sent that could not be understood; goes to quarantine."""

    raw: bytes
    code: str
    reason: str
    ts_event_ns: int


RawRecord = RawTrade | RawQuote | RawMacro | RawFunding | RawUnreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSeen:
    """What was published of an instrument before a restart."""

    ts_event_ns: int
    trade_ids: tuple[str, ...] = ()
    """the most recent ones, oldest first"""


class Feed(Protocol):
    """A source of market data."""

    @property
    def name(self) -> str:
        """Such as econometrics or binance; part of every record's identity."""
        ...

    @property
    def is_live(self) -> bool:
        """True: it happens now, cannot be read twice and never ends. False: every reading yields
        the same records in the same order, so a restart reads it again from the start."""
        ...

    @property
    def silence_ns_max(self) -> int:
        """Longer silence of an instrument counts as a gap; 0: silence means nothing."""
        ...

    def batches(self, seen: Mapping[str, LastSeen]) -> AsyncIterator[Sequence[RawRecord]]:
        """Records in event-time order. `seen`, by instrument, is for live feeds: they fetch what
        they missed since then, where the source allows."""
        ...

    async def close(self) -> None:
        """Lets go of files and connections."""
        ...


Options = Mapping[str, str]
MakeFeed = Callable[[Options], Feed]


def feed_names() -> tuple[str, ...]:
    """Names of the installed plug-ins, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def make_feed(name: str, options: Options) -> Feed:
    """A feed by the name of its plug-in; raises UnknownFeed, or FeedError for wrong options."""
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        raise UnknownFeed(
            f"There is no feed {name!r}.",
            f"Choose one of {', '.join(feed_names())}, or install the package that brings it.",
        )
    make: MakeFeed = points[0].load()
    return make(options)


def only_options(feed: str, options: Options, known: Sequence[str]) -> None:
    """Raises FeedError for an option that the feed does not have."""
    for name in sorted(options):
        if name not in known:
            raise FeedError(
                f"The feed {feed} has no option {name!r}.", f"Its options are {', '.join(known)}."
            )
