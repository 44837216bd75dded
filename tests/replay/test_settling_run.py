"""Slices that settle on real Kafka: what is decided at a bar's end knows the fills before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from proving.playing import (
    PRESET,
    START,
    Finished,
    Ground,
    from_the_tape,
    play,
    replayed,
    short_source,
)

from tapeline.cli.backtests import Asked, played_preset

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
END = "2014-02-15"
SETTLES = "[run]\nslices_settle = true\n"


@pytest.fixture(scope="module")
def settled(ground: Ground) -> Finished:
    text = PRESET.read_text().replace("[run]\n", SETTLES)
    return replayed(play(ground, "settled", source=replace(short_source(END), text=text)))


def in_process(run_id: str, preset: Path) -> dict[str, str]:
    """Digests of the same without Kafka."""
    asked = Asked(run_id=run_id, feed_options=(f"start={START}", f"end={END}"))
    return dict(played_preset(str(preset), asked, lambda _part: None).digests)


def test_a_run_whose_slices_settle_is_the_same_replayed_from_its_tape_and_in_one_process(
    settled: Finished, tmp_path: Path
) -> None:
    assert settled.replay is not None
    assert settled.replay.is_equal, settled.replay.differences
    assert settled.digests
    again = from_the_tape(settled)
    assert again == dict(sorted(settled.digests.items()))
    preset = tmp_path / "settling.toml"
    preset.write_text(PRESET.read_text().replace("[run]\n", SETTLES))
    run_id = settled.run.run_id
    assert in_process(run_id, preset) == again
    assert in_process(run_id, PRESET) != again, "settling changes what is decided"
