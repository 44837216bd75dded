"""Lengths of time as people write them: 1m, 5m, 1h, 1d."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000
UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
    "d": 86_400 * SECOND_NS,
}


def duration_ns(text: str) -> int:
    """Nanoseconds of a whole number with a unit (ns us ms s m h d); ValueError otherwise."""
    number = text.rstrip("nusmhd")
    unit = text[len(number) :]
    if not number.isascii() or not number.isdigit() or unit not in UNITS_NS or int(number) == 0:
        raise ValueError(f"{text!r} is no duration; write 1s, 1m, 5m, 1h or 1d")
    return int(number) * UNITS_NS[unit]
