"""Trades of one symbol from a stream and from catch-up requests, joined without repeats: pure.

There are two ways in, and they overlap: the stream says what happens now, a catch-up request what
happened lately. What a request repeats is dropped here; what the stream itself repeats is passed
on, so that the quality gate puts it into quarantine. Where trades are missing, the next says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tapeline.market_data.feeds.interface import LastSeen, RawTrade

IDS_KEPT: Final = 5000


class TradeTape:
    """What has come of one symbol's trades."""

    def __init__(self, ids_are_consecutive: bool, seen: LastSeen | None = None) -> None:
        """`ids_are_consecutive`: the venue numbers each symbol's trades without holes."""
        self._ids_are_consecutive = ids_are_consecutive
        self._ids: dict[str, bool] = {}
        """known ids; True: came by a request, so the stream may still bring it"""
        self._last_number = -1
        self.newest_ns = -1
        self.is_broken = True
        """trades may be missing before the next one, until an overlap shows otherwise"""
        if seen is not None:
            self.newest_ns = seen.ts_event_ns
            for trade_id in seen.trade_ids:
                self._remember(trade_id, False)

    @property
    def is_empty(self) -> bool:
        """True before the first trade."""
        return self.newest_ns < 0

    def break_off(self) -> None:
        """The connection was lost."""
        self.is_broken = True

    def begin(self, trades: Sequence[RawTrade]) -> None:
        """Notes what happened before we came; none of it is passed on."""
        for trade in trades:
            self.newest_ns = max(self.newest_ns, trade.ts_event_ns)
            self._remember(trade.trade_id, True)

    def needs_catch_up(self, trades: Sequence[RawTrade]) -> bool:
        """True when something is missing between what is known and these trades of the stream."""
        if self.is_empty or not trades:
            return False
        return self.is_broken or self._has_hole(min(trades, key=_order))

    def caught_up(self, trades: Sequence[RawTrade]) -> list[RawTrade]:
        """What is new in the answer to a catch-up request, oldest first."""
        ordered = sorted(trades, key=_order)
        fresh = [trade for trade in ordered if not self._is_known(trade)]
        if len(fresh) < len(ordered) or (fresh and self._follows(fresh[0])):
            self.is_broken = False
        return [self._taken(trade, True) for trade in fresh]

    def streamed(self, trades: Sequence[RawTrade]) -> list[RawTrade]:
        """What a message of the stream brings, oldest first."""
        out = []
        for trade in sorted(trades, key=_order):
            if self._ids.get(trade.trade_id, False):
                self._ids[trade.trade_id] = False
                self.is_broken = False
                continue
            out.append(self._taken(trade, False))
        return out

    def _is_known(self, trade: RawTrade) -> bool:
        if trade.trade_id:
            return trade.trade_id in self._ids
        return trade.ts_event_ns <= self.newest_ns

    def _follows(self, trade: RawTrade) -> bool:
        return self._last_number >= 0 and _number(trade.trade_id) == self._last_number + 1

    def _has_hole(self, trade: RawTrade) -> bool:
        number, last = _number(trade.trade_id), self._last_number
        return self._ids_are_consecutive and last >= 0 and number > last + 1

    def _taken(self, trade: RawTrade, is_fetched: bool) -> RawTrade:
        is_after_gap = self._has_hole(trade) or (self.is_broken and not self._follows(trade))
        self.is_broken = False
        self._remember(trade.trade_id, is_fetched)
        self.newest_ns = max(self.newest_ns, trade.ts_event_ns)
        return replace(trade, is_after_gap=True) if is_after_gap else trade

    def _remember(self, trade_id: str, is_fetched: bool) -> None:
        if not trade_id:
            return
        self._ids[trade_id] = is_fetched
        if len(self._ids) > IDS_KEPT:
            del self._ids[next(iter(self._ids))]
        if self._ids_are_consecutive:
            self._last_number = max(self._last_number, _number(trade_id))


def _number(trade_id: str) -> int:
    """The id as a number, or -1."""
    return int(trade_id) if trade_id.isascii() and trade_id.isdigit() else -1


def _order(trade: RawTrade) -> tuple[int, int]:
    return trade.ts_event_ns, _number(trade.trade_id)
