"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from tapeline.runtime.exits import USAGE, Failure


class NoTime(Failure):
    """An option that names a time holds something else."""

    exit_code = USAGE


def moment_ns(text: str, default: int) -> int:
    """Nanoseconds of an ISO 8601 date or time, UTC where it names no zone; raises NoTime."""
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NoTime(
            f"{text!r} is no time.", "Write 2024-01-31 or 2024-01-31T09:30:00+00:00."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1_000
