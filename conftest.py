"""Fixtures that every test may use: one real Kafka and one real PostgreSQL a session, and a line
of figures that is shown when all is over."""

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from tapeline.cli.stack.testing import kafka_bootstrap, postgres_url

__all__ = ["kafka_bootstrap", "postgres_url"]
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """A test that blocks a signal does not make the children of later tests deaf to it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Prints a line of figures, and again at the end of the session."""

    def told(line: str) -> None:
        sys.stdout.write(f"\n{line}\n")
        pytestconfig.stash.setdefault(FIGURES, []).append(line)

    return told


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What the oracles found, with the seeds that repeat it."""
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
