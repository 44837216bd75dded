"""What a check of data found, and the refusal to run on data with errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from tapeline.runtime.exits import USAGE, Failure

ACCEPT_OPTION: Final = "--accept-data-faults"
"""the option of commands that run on data"""


class DataUnfit(Failure):
    """Data with errors that nobody has accepted."""

    exit_code = USAGE


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "ERROR"
    """results would be wrong: a run refuses"""
    WARNING = "WARNING"
    """results may mislead: a report says so"""
    NOTE = "NOTE"
    """worth knowing"""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault in the data of one instrument."""

    code: str
    severity: Severity
    count: int
    first_ns: int
    """time of the first example; 0 where a fault has no place"""
    first_row: int
    """its row in the data as it was given, from 0; -1 where a fault has no place"""
    meaning: str
    """what it is, with the figures of the first example"""
    instrument: str = ""

    @property
    def line(self) -> str:
        """One line for people."""
        name = f"{self.instrument}: " if self.instrument else ""
        times = f" ({self.count:,} ×)" if self.count > 1 else ""
        place = f", first at row {self.first_row:,}" if self.first_row >= 0 else ""
        when = f", {utc_text(self.first_ns)}" if self.first_ns else ""
        return f"{name}{self.code}{times}: {self.meaning}{place}{when}"


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What of its time range the data of one instrument covers."""

    instrument: str
    form: str
    """trades | quotes | bars"""
    rows: int
    first_ns: int
    last_ns: int
    calendar: str
    """as named, or as inferred from the data: 24/7 or sessions"""
    is_inferred: bool
    interval_ns: int
    """of bars; of trades and quotes the interval at which presence is counted"""
    expected: int
    """intervals of open market from the first row to the last"""
    present: int
    """of them, those with a row"""

    @property
    def share(self) -> float:
        """Present of expected; 1 where nothing was expected."""
        return self.present / self.expected if self.expected else 1.0


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found, by instrument."""

    coverage: tuple[Coverage, ...]
    findings: tuple[Finding, ...]
    source: str = ""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings on which a run refuses."""
        return tuple(one for one in self.findings if one.severity is Severity.ERROR)

    @property
    def is_fit(self) -> bool:
        """True without errors."""
        return not self.errors

    @property
    def warnings(self) -> tuple[str, ...]:
        """Errors and warnings as lines, for the description of a run."""
        grave = [one for one in self.findings if one.severity is not Severity.NOTE]
        return tuple(f"data {one.severity.lower()}: {one.line}" for one in grave)


def require_fit(report: DataReport, *, accept_faults: bool = False) -> tuple[str, ...]:
    """The lines for Description.warnings; raises DataUnfit on errors that are not accepted."""
    if report.is_fit:
        return report.warnings
    if not accept_faults:
        shown = "\n".join(f"  {one.line}" for one in report.errors[:10])
        more = len(report.errors) - 10
        rest = f"\n  and {more} more" if more > 0 else ""
        raise DataUnfit(
            f"The data of {report.source or 'this run'} has faults that would make results wrong:\n"
            f"{shown}{rest}",
            f"Mend the data, or run on it as it is with {ACCEPT_OPTION}; "
            "`tapeline data check` shows all findings.",
        )
    return (f"run with {ACCEPT_OPTION} in spite of errors in the data", *report.warnings)


def joined(reports: Sequence[DataReport], source: str = "") -> DataReport:
    """Several reports as one."""
    return DataReport(
        coverage=tuple(one for report in reports for one in report.coverage),
        findings=tuple(one for report in reports for one in report.findings),
        source=source,
    )


def utc_text(at_ns: int) -> str:
    """2013-10-07 13:30:00.123 UTC, or the bare number where it is no date."""
    try:
        moment = datetime.fromtimestamp(at_ns // 1_000_000 / 1e3, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at_ns} ns"
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    milliseconds = at_ns // 1_000_000 % 1000
    return f"{text}.{milliseconds:03} UTC" if milliseconds else f"{text} UTC"
