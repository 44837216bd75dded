"""Each run has the tape of its own topics, also where its name was another's before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_samples import RUN

from tapeline.backtest.tape.store import Tape, TapeForeign
from tapeline.cli import backtests
from tapeline.cli.home import VARIABLE
from tapeline.cli.runs import RunStore

ENDED = replace(RUN, name="demo-1", result="complete")


def pulled(name: str) -> Tape:
    _, tape = backtests.pulled(name, lambda _done, _all: None)
    return tape


def test_no_run_is_played_from_the_tape_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    @contextmanager
    def a_desk(name: str) -> Iterator[SimpleNamespace]:
        asked.append(name)
        yield SimpleNamespace(reader=None)

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(backtests, "desk", a_desk)
    monkeypatch.setattr(backtests, "pull_run", lambda _tape, _reader, _on_pulled: 0)
    store = RunStore(tmp_path)
    store.save(ENDED)
    store.save(replace(ENDED, name="demo-2", started_ns=2))
    one, other = pulled("demo-1"), pulled("demo-2")
    assert one.folder != other.folder
    assert pulled("demo-1").folder == one.folder
    assert asked == ["demo-1", "demo-2"], "a closed tape needs no topics"
    # As by somebody who took the folder away by hand: the tape is still there.
    store.save(replace(ENDED, started_ns=3))
    with pytest.raises(TapeForeign, match="is of another run"):
        pulled("demo-1")
    store.delete("demo-1")
    store.save(replace(ENDED, started_ns=3))
    assert not pulled("demo-1").partition_count("ticks")
    assert asked == ["demo-1", "demo-2", "demo-1"]
