"""A strategy file as something to play on paper: its configuration, its data, its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from tapeline.backtest.strategies import kept
from tapeline.cli.configuration import Configuration, duration_ns
from tapeline.cli.runs import STRATEGY_FOLDER, Run, RunStore
from tapeline.cli.sources import PRESETS, BadSource, Source, feed_options, prepared

PRESET = PRESETS / "strategy.toml"
SYNTHETIC_INSTRUMENT = "SYNA.SIM"
SLICES_A_BAR = (4, 5, 3, 2)
SECOND_NS = 1_000_000_000
HALF_SPREAD, PARTICIPATION = "0.0001", "0.1"
"""with --slippage model, as in a backtest"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options of `tapeline run` ask for."""

    path: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    interval: str = "1m"
    quantity: str = "1"
    cash: str = "1000000"
    fee_taker: str = "0.001"
    has_slippage: bool = False
    instrument: str = ""
    trades: Path | None = None
    bars: Path | None = None
    seed: int = 1
    """of generated prices, where there is no file"""
    seconds: int = 3600
    """of generated prices, event time"""


def prepared_strategy(home: Path, wanted: Wanted) -> tuple[Run, Configuration, Source]:
    """A new run of a strategy file; its folder keeps the file. Raises StrategyUnusable for a file
    that is no strategy and BadSource for data that is not there."""
    store = RunStore(home)
    stem = stem_of(wanted.path)
    name = store.new_name(stem)
    folder = store.folder(name)
    data = wanted.trades or wanted.bars
    _check(wanted, data)
    strategy = kept(wanted.path, folder / STRATEGY_FOLDER)
    instrument = wanted.instrument or SYNTHETIC_INSTRUMENT
    if data is None:
        feed = "synthetic"
        options = feed_options(
            seed=str(wanted.seed), instruments=instrument, seconds=str(wanted.seconds)
        )
        title = f"{strategy.name} on SYNTHETIC prices, seed {wanted.seed}"
    else:
        feed, title = "recorded", f"{strategy.name} on {data.name}"
        mapping = folder / "data.toml"
        mapping.write_text(_mapping(wanted, data.absolute()))
        options = feed_options(mapping=str(mapping), name=feed)
    symbol, _, venue = instrument.partition(".")
    blanks = {
        "title": title,
        "feed": feed,
        "interval": wanted.interval,
        "slice": slice_of(wanted.interval),
        "venue": venue or "PAPER",
        "symbol": symbol,
        "instrument": instrument,
        "fee_taker": wanted.fee_taker,
        "half_spread": HALF_SPREAD if wanted.has_slippage else "0",
        "participation": PARTICIPATION if wanted.has_slippage else "0",
        "cash": wanted.cash,
        "quantity": wanted.quantity,
        "name": strategy.name,
        "implementation": strategy.implementation_name,
    }
    texts = {name: json.dumps(value) for name, value in blanks.items()}
    texts["parameters"] = _inline(wanted.parameters)
    source = Source(
        stem=stem,
        preset=PRESET,
        title=title,
        is_synthetic=data is None,
        feed_options=options,
        text=Template(PRESET.read_text()).substitute(texts),
    )
    run, configuration = prepared(home, source, stem, name)
    return run, configuration, source


def slice_of(interval: str) -> str:
    """A quarter of a bar or so, in whole seconds; a bar of one second is one slice."""
    whole_ns = duration_ns(interval, "--interval")
    for parts in SLICES_A_BAR:
        part, rest = divmod(whole_ns, parts * SECOND_NS)
        if part and not rest:
            return f"{part}s"
    return interval


def stem_of(path: Path) -> str:
    """The file's name as a run may be called."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in path.stem.lower())
    return letters.encode("ascii", "replace").decode().replace("?", "-").strip("-")[:30] or "run"


def _check(wanted: Wanted, data: Path | None) -> None:
    if wanted.trades is not None and wanted.bars is not None:
        raise BadSource("Both --trades and --bars are given.", "Give one of them.")
    if data is not None and not data.is_file():
        raise BadSource(f"There is no file {data}.", "Give the path of a Parquet or CSV file.")
    if data is not None and not wanted.instrument:
        raise BadSource("A file needs its instrument.", "Add --instrument BTCUSD.SIM or the like.")


def _mapping(wanted: Wanted, data: Path) -> str:
    """How the feed is to read the file: columns as those of `tapeline backtest`."""
    lines = {"path": str(data), "instrument_id": wanted.instrument}
    if wanted.trades is not None:
        lines["kind"] = "trades"
    else:
        lines |= {"kind": "bars", "time_column": "ts_open_ns", "interval": wanted.interval}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())


def _inline(values: Mapping[str, str]) -> str:
    """A table of texts on one line."""
    pairs = (f"{json.dumps(name)} = {json.dumps(value)}" for name, value in values.items())
    return "{ " + ", ".join(pairs) + " }"
