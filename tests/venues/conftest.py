"""Makes the adverse venue importable, and its adapter found by its entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from adverse_process import AdverseVenue, adverse_venue
from desk import Desk, desk


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[AdverseVenue]:
    """A venue of the test's own, on which nothing goes wrong yet."""
    with adverse_venue(tmp_path / "venue", seed=1) as running:
        yield running


@pytest.fixture
def run(
    tmp_path: Path, kafka_bootstrap: str, postgres_url: str, venue: AdverseVenue
) -> Iterator[Desk]:
    """A live run with a market at 100."""
    venue.market(SYNA_X="100")
    with desk(tmp_path, kafka_bootstrap, postgres_url, venue) as made:
        yield made
