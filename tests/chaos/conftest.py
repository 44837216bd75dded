"""A broker that may be killed, and its log where a test with it has failed."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure that has to do with a broker is explained by the broker's log, if by anything."""
    report = yield
    kafka = getattr(item, "funcargs", {}).get("doomed_kafka")
    if report.when == "call" and report.failed and kafka is not None:
        kept = keep_log(kafka, item.config.rootpath / ".tapeline" / "failures" / item.name)
        report.sections.append(("the broker's log", f"kept in {kept}"))
    return report


def keep_log(kafka: EmbeddedKafka, folder: Path) -> Path:
    """Copies what the broker said, with what was rotated, to where no later run removes it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in kafka.log.parent.glob(f"{kafka.log.name}*"):
        shutil.copy(path, folder)
    return folder
