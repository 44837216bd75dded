"""Fixtures that every test may use: one real Kafka and one real PostgreSQL a process, and a line
of figures that is shown when all is over; and which tests may run beside each other."""

import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tapeline.cli.stack.testing import kafka_bootstrap, postgres_url

__all__ = ["kafka_bootstrap", "postgres_url"]
FIGURES = "figures"
WHOLE = ("tests/chaos/", "tests/deployment/", "tests/e2e/", "tests/replay/", "tests/venues/")
"""folders whose tests start whole systems"""

# What says how quick a machine is, or how lucky a draw, is no reason to be red; a loaded machine is
# slow. `repeatable` draws the same examples each time, `exploring` new ones (make explore).
settings.register_profile(
    "exploring",
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
settings.register_profile("repeatable", settings.get_profile("exploring"), derandomize=True)
settings.load_profile("repeatable")


class Apart(LoadScopeScheduling):  # type: ignore[misc]
    """Where several processes share the tests: never two whole systems beside each other.

    Of the others a file stays in one process, so that its fixtures are made once.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "whole" if file.startswith(WHOLE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Apart:
    """Of `pytest -n`."""
    return Apart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole systems take longest and begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(WHOLE))


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """A test that blocks a signal does not make the children of later tests deaf to it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Prints a line of figures, and again at the end of the session."""

    def told(line: str) -> None:
        sys.stdout.write(f"\n{line}\n")
        record_property(FIGURES, line)

    return told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the oracles found, with the seeds that repeat it."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == FIGURES
    ]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(str(line))
