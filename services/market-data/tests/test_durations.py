from __future__ import annotations

import pytest

from tapeline.market_data.durations import duration_ns

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", SECOND),
        ("5m", 300 * SECOND),
        ("1h", 3600 * SECOND),
        ("2d", 172_800 * SECOND),
        ("7ns", 7),
        ("3us", 3000),
        ("4ms", 4_000_000),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert duration_ns(text) == expected


@pytest.mark.parametrize("text", ["", "m", "1", "0m", "-1m", "1.5h", "1w", "1 m", "1mm", "²m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration_ns(text)
