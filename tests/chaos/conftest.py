"""A broker that may be killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.testing import jars_cache


@pytest.fixture(scope="module")
def doomed_kafka(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[EmbeddedKafka]:
    """One broker of its own a module."""
    folder = tmp_path_factory.mktemp("doomed")
    with EmbeddedKafka(folder / "kafka", jars_dir=jars_cache(pytestconfig.rootpath)) as kafka:
        yield kafka
