"""Sweeps: what the options ask for, kept as slices, played in parallel, told as one table."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tapeline.backtest.paced.setup import Setup
from tapeline.backtest.sweep.book import Book
from tapeline.backtest.sweep.folds import folds_of
from tapeline.backtest.sweep.search import METHODS
from tapeline.backtest.sweep.space import Axis, Choices, number_text, parsed
from tapeline.backtest.sweep.sweep import OnTrial, Plan, Sweep
from tapeline.backtest.sweep.trial import OBJECTIVES, Player, TapePlayer
from tapeline.backtest.tape.slice_tape import FORMAT, keep
from tapeline.backtest.tape.slice_tape import KINDS as KEPT
from tapeline.cli import backtests
from tapeline.cli.backtests import Asked, BadBacktest, Source, looked_at
from tapeline.cli.configuration import KINDS
from tapeline.cli.home import home
from tapeline.cli.overrides import with_parameters, with_settings
from tapeline.cli.runs import TAPE_FOLDER

FOLDER = "sweeps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """How a sweep searches."""

    axes: tuple[str, ...]
    method: str = "grid"
    trials: int = 50
    seed: int = 1
    objective: str = "sharpe"
    folds: int = 1
    share: float = 0.3
    is_anchored: bool = False
    workers: int = 0
    part: str = "1/1"

    def checked(self) -> Searched:
        """The same; raises BadBacktest for words that mean nothing."""
        for name, value, known in (
            ("--method", self.method, METHODS),
            ("--objective", self.objective, OBJECTIVES),
        ):
            if value not in known:
                raise BadBacktest(f"{name} {value!r} is unknown.", f"Use {', '.join(known)}.")
        if self.trials < 1 or self.workers < 0:
            raise BadBacktest("Trials and workers are counted from 1.", "Give a whole number.")
        number, parts = self.numbered()
        if not 1 <= number <= parts or (parts > 1 and self.method == "bayes"):
            raise BadBacktest(
                f"--part {self.part} is not possible with --method {self.method}.",
                "Write I/N with I from 1 to N; a model's proposals need all results in one place.",
            )
        return self

    def numbered(self) -> tuple[int, int]:
        """The part as (i, n)."""
        number, _, parts = self.part.partition("/")
        if not (number.isdigit() and parts.isdigit()):
            raise BadBacktest(f"--part {self.part!r} is not I/N.", "Write it like 1/4.")
        return int(number), int(parts)


def changed(records: Sequence[Any], point: Mapping[str, str]) -> tuple[Any, ...]:
    """The records at a point: TABLE.ID.FIELD is a field, NAME.PARAMETER a parameter."""
    tables = {name for name in point if name.partition(".")[0] in KINDS and name.count(".") > 1}
    records = with_settings(records, {name: point[name] for name in point if name in tables})
    return with_parameters(records, {name: point[name] for name in point if name not in tables})


@contextmanager
def prepared(source: Source, asked: Asked, searched: Searched) -> Iterator[tuple[Sweep, Path]]:
    """A sweep that is ready to run, and its folder; the models that it asks answer in the block.

    Raises BadBacktest, BadSpace, BadFolds, BadOverride, DataUnfit.
    """
    axes = parsed(searched.checked().axes)
    with backtests.models(source.records) as outside:
        setup = replace(source.setup, outside=outside)
        changed(source.records, {axis.name: first_of(axis) for axis in axes})
        slices = _kept(source, asked)
        player = TapePlayer(
            setup=setup,
            folder=slices,
            width_ns=source.width_ns,
            change=changed,
            instruments=frozenset(asked.instruments),
            strategies=source.strategies,
        )
        tape = player.tape()
        kept = replace(source, slices=tape.played(), left_out=tape.left_out)
        looked = looked_at(kept, asked)
        what = _identity(setup, slices.name)
        yield sweep_of(searched, player, source.width_ns, what, looked.facts.warnings)


def sweep_of(
    searched: Searched,
    player: Player,
    width_ns: int,
    what: str,
    warnings: tuple[str, ...] = (),
) -> tuple[Sweep, Path]:
    """A sweep over all that the player covers, cut at whole `width_ns`, and its folder. Of the same
    `what`, searched in the same way by the same version, it goes on where it was interrupted.

    Raises BadBacktest, BadSpace, BadFolds.
    """
    plan = Plan(
        axes=parsed(searched.checked().axes),
        method=searched.method,
        trials=searched.trials,
        seed=searched.seed,
        objective=searched.objective,
        folds=folds_of(
            player.whole(),
            width_ns,
            count=searched.folds,
            share=searched.share,
            is_anchored=searched.is_anchored,
        ),
        workers=searched.workers or os.cpu_count() or 1,
        part=searched.numbered(),
    )
    parts = [what, repr(replace(searched, workers=0, part="1/1")), version("tapeline")]
    identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    folder = home() / FOLDER / f"sweep-{identity}"
    number, count = plan.part
    book = Book(folder, "trials" if count == 1 else f"trials-{number}-of-{count}")
    return Sweep(plan, player, book, warnings=warnings), folder


def first_of(axis: Axis) -> str:
    """A value to try, so that a name that is not there is found before anything is played."""
    return axis.values[0] if isinstance(axis, Choices) else number_text(axis.low)


def run(sweep: Sweep, on_trial: OnTrial) -> None:
    """Plays what is missing."""
    sweep.on_trial = on_trial
    sweep.run()


def _kept(source: Source, asked: Asked) -> Path:
    """The slices as columns, shared by all sweeps of the same data."""
    parent = home() / TAPE_FOLDER / "slices"
    if not source.data:
        return asyncio.run(keep(source.slices, parent, left_out=source.left_out))
    what = {"data": source.data, "from": asked.start, "to": asked.end, "width": source.width_ns}
    what["instruments"], what["kinds"] = sorted(asked.instruments), sorted(KEPT)
    what["partitions"], what["format"] = source.setup.instrument_partitions, FORMAT
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    if not (parent / name).is_dir():
        asyncio.run(keep(source.slices, parent, name, source.left_out))
    return parent / name


def _identity(setup: Setup, slices: str) -> str:
    """Of what is played."""
    what = {
        "records": [repr(record) for record in setup.records],
        "interventions": [repr(item) for item in setup.interventions],
        "slices": slices,
    }
    return json.dumps(what, sort_keys=True)
