"""Makes `proving`, what these tests share, importable; one undisturbed run for all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from proving.playing import LOAD_LIMIT_S, Finished, Ground, load_source, play, replayed


@pytest.fixture(scope="session")
def ground(
    kafka_bootstrap: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Ground:
    """The servers of the session, and a home for the runs on them."""
    home = tmp_path_factory.mktemp("home")
    return Ground(home=home, bootstrap_servers=kafka_bootstrap, database_url=postgres_url)


@pytest.fixture(scope="session")
def undisturbed(ground: Ground) -> Finished:
    """The short run, played once with nothing in its way, and replayed."""
    return replayed(play(ground, "undisturbed"))


@pytest.fixture(scope="session")
def loaded(ground: Ground) -> Finished:
    """The load run, played once with nothing in its way."""
    return play(ground, "load", source=load_source(), limit_s=LOAD_LIMIT_S)
