"""A strategy file as something to play on paper: its configuration, its data, its code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from tapeline.backtest.engine import prepared_file
from tapeline.backtest.engine.bar_rows import file_row_ns, length_text
from tapeline.backtest.engine.loading import Care
from tapeline.backtest.engine.loading import Source as FileSource
from tapeline.backtest.engine.rows import BAR_COLUMNS, TRADE_COLUMNS
from tapeline.backtest.engine.setup import interval_ns_of
from tapeline.backtest.strategies import kept
from tapeline.cli.configuration import Configuration, duration_ns
from tapeline.cli.runs import STRATEGY_FOLDER, TAPE_FOLDER, Run, RunStore
from tapeline.cli.sources import (
    LIVE_SYMBOLS,
    PRESETS,
    BadSource,
    Source,
    feed_options,
    prepared,
)

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
    instruments: tuple[str, ...] = ()
    """one a file, in the order of the files; live as the exchange writes them, BTC/USDT"""
    trades: tuple[Path, ...] = ()
    bars: tuple[Path, ...] = ()
    live: str = ""
    """exchange (ccxt name) whose public trades are played as they happen"""
    seed: int = 1
    """of generated prices, where there is no file"""
    seconds: int = 3600
    """of generated prices, event time"""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is played from files."""
        return self.trades or self.bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a strategy is played on."""

    feed: str
    about: str
    """behind the strategy's name in the run's title"""
    instruments: tuple[str, ...]
    options: Mapping[str, str]


def prepared_strategy(
    home: Path, wanted: Wanted, warnings: tuple[str, ...] = ()
) -> tuple[Run, Configuration, Source]:
    """A new run of a strategy file; its folder keeps the file, and what a reader must know of the
    data. Raises StrategyUnusable for a file that is no strategy and BadSource for data that is not
    there."""
    store = RunStore(home)
    stem = stem_of(wanted.path)
    name = store.new_name(stem)
    folder = store.folder(name)
    _check(wanted)
    strategy = kept(wanted.path, folder / STRATEGY_FOLDER)
    data = _data(wanted, [_ready(home, wanted, path) for path in wanted.files], folder)
    title = f"{strategy.name} on {data.about}"
    blanks = {
        "title": title,
        "feed": data.feed,
        "interval": wanted.interval,
        "slice": slice_of(wanted.interval),
        "venue": _venue(data.instruments),
        "instruments": list(data.instruments),
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
    texts["instrument_tables"] = "\n".join(map(_instrument_table, data.instruments))
    source = Source(
        stem=stem,
        preset=PRESET,
        title=title,
        is_paced=not wanted.live,
        is_synthetic=data.feed == "synthetic",
        feed_options=feed_options(**data.options),
        text=Template(PRESET.read_text()).substitute(texts),
    )
    run, configuration = prepared(home, source, stem, name)
    run = replace(run, data_warnings=warnings)
    store.save(run)
    return run, configuration, source


def looked_at(home: Path, wanted: Wanted, *, accept_faults: bool) -> tuple[str, ...]:
    """What a reader must know of the files, read as a backtest reads them; raises BadSource,
    MarketUnusable, DataUnfit."""
    _check(wanted)
    if not wanted.files:
        return ()
    care, interval_ns = Care(accept_faults=accept_faults), interval_ns_of(wanted.interval)
    found = []
    for path, name in zip(wanted.files, wanted.instruments, strict=True):
        source = FileSource(path=_ready(home, wanted, path), is_bars=bool(wanted.bars))
        loaded = source.load(interval_ns, care)
        found += [f"{name}: {line}" for line in loaded.warnings]
    return tuple(found)


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


def _check(wanted: Wanted) -> None:
    if sum(map(bool, (wanted.trades, wanted.bars, wanted.live))) > 1:
        raise BadSource("Several sources are given.", "Give one of --trades, --bars and --live.")
    for data in wanted.files:
        if not data.is_file():
            raise BadSource(f"There is no file {data}.", "Give the path of a Parquet or CSV file.")
    if wanted.files and len(wanted.files) != len(wanted.instruments):
        raise BadSource(
            "A file needs its instrument." if len(wanted.files) == 1
            else f"{len(wanted.files)} files and {len(wanted.instruments)} instruments are given.",
            "Add --instrument BTCUSD.SIM or the like for each file, in the order of the files.",
        )  # fmt: skip
    if len(set(wanted.instruments)) != len(wanted.instruments):
        raise BadSource("An instrument is named twice.", "Name each once.")


def _ready(home: Path, wanted: Wanted, path: Path) -> Path:
    """The file as a backtest reads it: of text, and of times written otherwise, its copy."""
    time = (BAR_COLUMNS if wanted.bars else TRADE_COLUMNS)[0]
    return prepared_file.prepared(path, time, "", home / TAPE_FOLDER / "files")


def _data(wanted: Wanted, ready: Sequence[Path], folder: Path) -> Data:
    """What is played, `ready` of the files; how those are read is written to the run's folder.
    Raises BadSource."""
    if wanted.live:
        symbols = wanted.instruments or LIVE_SYMBOLS
        return Data(
            feed="ccxt",
            about=f"public trades of {wanted.live}, as they happen; paper orders only",
            instruments=tuple(_live_id(symbol, wanted.live) for symbol in symbols),
            options={"exchange": wanted.live, "symbols": ",".join(symbols)},
        )
    if not wanted.files:
        names = wanted.instruments or (SYNTHETIC_INSTRUMENT,)
        return Data(
            feed="synthetic",
            about=f"SYNTHETIC prices, seed {wanted.seed}",
            instruments=names,
            options={
                "seed": str(wanted.seed),
                "instruments": ",".join(names),
                "seconds": str(wanted.seconds),
            },
        )
    mappings = []
    for number, (data, name) in enumerate(zip(ready, wanted.instruments, strict=True)):
        mappings.append(folder / f"data-{number + 1}.toml")
        mappings[-1].write_text(_mapping(wanted, data.absolute(), name))
    return Data(
        feed="recorded",
        about=", ".join(data.name for data in wanted.files),
        instruments=wanted.instruments,
        options={"mapping": ",".join(map(str, mappings)), "name": "recorded"},
    )


def _live_id(symbol: str, exchange: str) -> str:
    """As the feed names it: BTC/USDT of binance is BTCUSDT.BINANCE."""
    if "/" not in symbol or ":" in symbol:
        raise BadSource(
            f"--instrument {symbol} is no spot symbol of an exchange.", "Write it as BTC/USDT."
        )
    return f"{symbol.replace('/', '')}.{exchange.upper()}"


def _venue(instruments: Sequence[str]) -> str:
    """Where all of them trade; an account has one venue. Raises BadSource."""
    venues = {name.partition(".")[2] or "PAPER" for name in instruments}
    if len(venues) > 1:
        raise BadSource(
            f"The instruments trade at {', '.join(sorted(venues))}, and an account has one venue.",
            "Choose instruments of one venue.",
        )
    return venues.pop()


def _instrument_table(name: str) -> str:
    symbol, _, venue = name.partition(".")
    values = {"instrument_id": name, "symbol": symbol, "venue": venue or "PAPER"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["[[instrument]]", *lines])


def _mapping(wanted: Wanted, data: Path, name: str) -> str:
    """How the feed is to read the file: columns as those of `tapeline backtest`."""
    lines = {"path": str(data), "instrument_id": name}
    if wanted.trades:
        lines["kind"] = "trades"
    else:
        # Its own bars: those of the run are made of their ticks.
        row_ns = file_row_ns(data, {}, interval_ns_of(wanted.interval))
        lines |= {"kind": "bars", "time_column": "ts_open_ns", "interval": length_text(row_ns)}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())


def _inline(values: Mapping[str, str]) -> str:
    """A table of texts on one line."""
    pairs = (f"{json.dumps(name)} = {json.dumps(value)}" for name, value in values.items())
    return "{ " + ", ".join(pairs) + " }"
