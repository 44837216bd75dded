"""The volume profile of a VWAP order by hand: what traded at the same times of day before.

It is worked out here, from the bars of the run, and goes into the decision. So the sizes of the
slices are signed with the approval before the first is sent, and a replay needs no bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from tapeline.contracts.market import Bar

DAY_NS: Final = 86_400_000_000_000
PLACES: Final = Decimal("0.000001")


def profile_of(
    bars: Sequence[Bar], start_ns: int, duration_ns: int, slice_count: int
) -> tuple[Decimal, ...]:
    """Volume by slice: `slice_count` equal parts of `duration_ns` from `start_ns` on.

    Of the shortest interval there is, every bar counts that opened within the slice's time of day,
    UTC, on whatever day; a bar is counted once, with its last version. Empty where nothing traded.
    """
    interval_ns = min((bar.interval_ns for bar in bars), default=0)
    last = {bar.ts_open_ns: bar for bar in bars if bar.interval_ns == interval_ns}
    gap_ns = duration_ns // slice_count
    volumes = [Decimal(0)] * slice_count
    for opened_ns in sorted(last):
        behind_ns = (opened_ns - start_ns) % DAY_NS
        place = behind_ns // gap_ns
        if place < slice_count and last[opened_ns].volume > 0:
            volumes[place] += Decimal(repr(last[opened_ns].volume))
    if not any(volumes):
        return ()
    return tuple(volume.quantize(PLACES) for volume in volumes)
