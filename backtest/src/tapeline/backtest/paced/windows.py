"""A part of a run's slices, as a run of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tapeline.backtest.paced.setup import Choice, MarketSlice
from tapeline.runtime.exits import USAGE, Failure


class NothingThere(Failure):
    """No slice lies in the time range."""

    exit_code = USAGE


def windowed(parts: Iterable[MarketSlice], choice: Choice, width_ns: int) -> Iterator[MarketSlice]:
    """The slices that were chosen, numbered from 1 and closed by an empty one.

    The closing slice takes in what comes back from execution in the last one with data. Raises
    NothingThere.
    """
    number, end_ns, is_final = 0, 0, False
    for part in parts:
        if part.end_ns <= choice.start_ns:
            continue
        if part.end_ns - width_ns >= choice.end_ns:
            break
        number += 1
        end_ns, is_final = part.end_ns, part.is_final
        yield _chosen(replace(part, number=number), choice)
    if not number:
        raise NothingThere(
            "There is no data in this time range.", "Choose another one with --from and --to."
        )
    if not is_final:
        end_ns += width_ns
        yield MarketSlice(number=number + 1, end_ns=end_ns, is_final=True, ticks={})


def _chosen(part: MarketSlice, choice: Choice) -> MarketSlice:
    is_played = choice.is_played
    ticks = {
        place: [tick for tick in found if is_played(tick.ts_event_ns, tick.instrument_id)]
        for place, found in part.ticks.items()
    }
    macro = [item for item in part.macro if is_played(item.record.ts_event_ns)]
    funding = [
        item
        for item in part.funding
        if is_played(item.record.ts_event_ns, getattr(item.record, "instrument_id", ""))
    ]
    return replace(part, ticks=ticks, macro=macro, funding=funding)
