"""A strategy file as something to play: names, slices, and data that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapeline.cli.sources import BadSource
from tapeline.cli.strategy_source import Wanted, prepared_strategy, slice_of, stem_of


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("1m", "15s"), ("10s", "2s"), ("3s", "1s"), ("1s", "1s"), ("1d", "21600s"), ("5s", "1s")],
)
def test_a_slice_is_a_part_of_a_bar_in_whole_seconds(interval: str, expected: str) -> None:
    assert slice_of(interval) == expected


def test_a_run_is_named_for_its_file() -> None:
    assert stem_of(Path("My_Idea 2.py")) == "my-idea-2"


def test_data_that_are_not_there_make_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no file"):
        prepared_strategy(tmp_path, Wanted(path=tmp_path / "m.py", trades=tmp_path / "none"))
    data = tmp_path / "t.parquet"
    data.touch()
    with pytest.raises(BadSource, match="needs its instrument"):
        prepared_strategy(tmp_path, Wanted(path=tmp_path / "m.py", trades=data))
    assert not (tmp_path / "runs").exists()
