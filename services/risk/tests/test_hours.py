"""Sessions of exchanges, held against what the exchanges publish."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tapeline.risk import hours
from tapeline.risk.hours import sessions_of


def at(text: str, zone: str = "America/New_York") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return int(moment.astimezone(UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2013-10-07 09:29:59", False),
        ("2013-10-07 09:30:00", True),
        ("2013-10-07 15:59:59", True),
        ("2013-10-07 16:00:00", False),
        ("2013-10-05 12:00:00", False),  # a Saturday
        ("2024-07-03 12:59:59", True),  # the day before a holiday ends at 13:00
        ("2024-07-03 13:00:00", False),
        ("2024-07-04 12:00:00", False),
        ("2024-03-08 09:30:00", True),  # the day before clocks change
        ("2024-03-11 09:30:00", True),
        ("2001-09-12 12:00:00", False),
        ("1999-12-31 12:00:00", False),  # before what is known
        ("2040-01-03 12:00:00", False),  # behind it
    ],
)
def test_new_york(moment: str, is_open: bool) -> None:
    sessions = sessions_of("XNYS")
    assert sessions is not None
    assert sessions.is_open(at(moment)) == is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2024-02-14 11:59:59", True),
        ("2024-02-14 12:00:00", False),  # lunch
        ("2024-02-14 12:59:59", False),
        ("2024-02-14 13:00:00", True),
    ],
)
def test_hong_kong_has_lunch(moment: str, is_open: bool) -> None:
    sessions = sessions_of("XHKG")
    assert sessions is not None
    assert sessions.is_open(at(moment, "Asia/Hong_Kong")) == is_open


def test_what_never_closes_is_one_session() -> None:
    always = sessions_of("24/7")
    assert always is not None
    assert len(always.opens) == 1
    assert always.is_open(at("2024-12-25 03:00:00"))
    week = sessions_of("24/5")
    assert week is not None
    moments = ("2024-12-27 23:59:59", "2024-12-28 00:00:00", "2024-12-30 00:00:00")
    assert [week.is_open(at(moment, "UTC")) for moment in moments] == [True, False, True]


def test_the_next_opening() -> None:
    sessions = sessions_of("XNYS")
    assert sessions is not None
    assert sessions.next_open_ns(at("2024-07-03 14:00:00")) == at("2024-07-05 09:30:00")
    assert sessions.next_open_ns(at("2040-07-03 14:00:00")) is None


@pytest.mark.parametrize("name", ["", "xnys", "NOWHERE", "../XNYS"])
def test_an_unknown_name_has_no_sessions(name: str) -> None:
    assert sessions_of(name) is None


def test_sessions_ascend_and_are_computed_once() -> None:
    sessions = sessions_of("XTKS")
    assert sessions is not None
    assert sessions is sessions_of("XTKS")
    ends = [0, *sessions.closes]
    for opened, closed, before in zip(sessions.opens, sessions.closes, ends, strict=False):
        assert before < opened < closed


@pytest.mark.parametrize("error", [NotImplementedError, ValueError])
def test_a_calendar_that_the_library_cannot_compute_has_no_sessions(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fails(calendar: str) -> list[tuple[int, int]]:
        raise error(calendar)

    monkeypatch.setattr(hours, "_parts", fails)
    assert sessions_of.__wrapped__("XNYS") is None
