"""A trigger and a group of a package that is installed on the fly: the ones the docs show."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from agents_samples import (
    SPX,
    HeldConfig,
    account_config,
    bar,
    group_config,
    inputs,
    trigger_config,
    watermark,
)

from tapeline.agents.groups_stage import GroupStage
from tapeline.agents.plugins import BadConfig, make_watch
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, Signal

DOCS = Path(__file__).parents[3] / "docs"
LINES_MAX = 30


def code_of(page: str) -> str:
    """The Python block of a page."""
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with the two files and their entry points, on the path."""
    package = tmp_path / "acme_strategies"
    package.mkdir()
    (package / "streak.py").write_text(code_of("how-to-add-a-trigger.md"))
    (package / "majority.py").write_text(code_of("how-to-add-a-group.md"))
    info = tmp_path / "acme_strategies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-strategies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tapeline.triggers]\nstreak = acme_strategies.streak:Streak\n"
        "[tapeline.groups]\nmajority = acme_strategies.majority:Majority\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("acme_strategies")]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
async def test_a_trigger_and_a_group_of_another_package_run_through_the_stages() -> None:
    streak = trigger_config("streak_daily", "streak", {"length": "2"})
    group = group_config(
        implementation="majority", instruments=(SPX,), parameters={"cycle_interval_ns": "0"}
    )
    config = HeldConfig.of(streak, group, account_config())
    triggers = TriggersStage(run_id="run", config=config, signals_partition_count=1)
    triggers.restore(topics.BARS, 0, 0, ())
    closes = [10.0, 11.0, 12.0, 11.0]
    bars = [
        record
        for day, close in enumerate(closes, start=1)
        for record in (bar(day, close), watermark("bars/0", day))
    ]
    told = [
        output.record
        for output in await triggers.step(topics.BARS, 0, inputs(topics.BARS, 0, bars))
    ]
    opinions = [(item.direction, item.confidence) for item in told if isinstance(item, Signal)]
    assert opinions == [("LONG", 0.6), ("FLAT", 0.0)]

    groups = GroupStage(
        run_id="run",
        group_id="momentum",
        config=config,
        sources=("triggers/bars/0",),
        signals_partition_count=1,
    )
    groups.restore(topics.SIGNALS, 0, 0, ())
    outputs = await groups.step(topics.SIGNALS, 0, inputs(topics.SIGNALS, 0, told))
    decisions = [item.record for item in outputs if isinstance(item.record, Decision)]
    assert [item.target_weight for item in decisions] == [Decimal("0.05"), Decimal(0)]


@pytest.mark.usefixtures("installed")
def test_an_unknown_parameter_of_a_foreign_trigger_is_refused_and_named() -> None:
    with pytest.raises(BadConfig, match=r"unknown parameter size.*\n.*length"):
        make_watch(trigger_config("streak_daily", "streak", {"size": "2"}))


def test_an_implementation_that_is_not_installed_is_refused_and_named() -> None:
    with pytest.raises(BadConfig, match=r"no implementation 'streak'.*\n.*sma_cross"):
        make_watch(trigger_config("streak_daily", "streak"))


@pytest.mark.parametrize("page", ["how-to-add-a-trigger.md", "how-to-add-a-group.md"])
def test_the_docs_need_fewer_than_thirty_lines_of_code(page: str) -> None:
    assert len([line for line in code_of(page).splitlines() if line.strip()]) < LINES_MAX
