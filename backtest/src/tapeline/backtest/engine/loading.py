"""Reading a file for a run: its rows are checked, digested and made into bars as they pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from tapeline.backtest.data_check.by_blocks import TradeCheck
from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.findings import DataReport, require_fit
from tapeline.backtest.data_check.series import Rules
from tapeline.backtest.engine.bar_rows import read_bars
from tapeline.backtest.engine.kept_market import ROW_DTYPES, TickKeeper, keep, new_folder
from tapeline.backtest.engine.market import (
    BarBuilder,
    FileTicks,
    Market,
    load_bars,
    load_trades,
    market_of_bars,
)
from tapeline.backtest.engine.rows import (
    ALWAYS,
    BLOCK_ROWS,
    TRADE_COLUMNS,
    Block,
    ColumnsDigest,
    RowFile,
    Span,
)
from tapeline.runtime.clock import monotonic_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How the data is looked at before the run."""

    calendar: str = ""
    """24/7 or an exchange such as XNYS; seen from the data where empty"""
    accept_faults: bool = False
    """run on data with errors, and say so"""

    def rules(self, interval_ns: int) -> Rules:
        """For the check."""
        return Rules(interval_ns=interval_ns, calendar=self.calendar)

    def warnings(self, report: DataReport) -> tuple[str, ...]:
        """What a reader must know of the data; raises DataUnfit on errors."""
        return require_fit(report, accept_faults=self.accept_faults)


WITH_CARE: Final = Care()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file to run over."""

    path: Path
    is_bars: bool
    columns: Mapping[str, str] = field(default_factory=dict)
    """our column -> the file's, where they differ"""
    block_rows: int = BLOCK_ROWS
    """of a file of trades that are held at a time"""
    span: Span = ALWAYS
    """the part of the file that is run over, and looked at"""

    def load(self, interval_ns: int, care: Care = WITH_CARE) -> Loaded:
        """Its rows, checked; raises MarketUnusable, DataUnfit, UnknownCalendar."""
        return self._bars(interval_ns, care) if self.is_bars else self._trades(interval_ns, care)

    def keep(self, interval_ns: int, care: Care, parent: Path) -> tuple[Path, tuple[str, ...]]:
        """(folder in `parent` of what `load` gives, for many processes to map; its warnings)."""
        with new_folder(parent) as part:
            if self.is_bars:
                loaded = self._bars(interval_ns, care)
                with TickKeeper(part, ROW_DTYPES) as keeper:
                    keeper.add(loaded.market.ticks.block(0))
            else:
                with TickKeeper(part) as keeper:
                    loaded = self._trades(interval_ns, care, keeper.add)
            return keep(loaded.market, part), loaded.warnings

    def market(self, interval_ns: int) -> Market:
        """Its rows without a look at their quality; raises MarketUnusable."""
        load = load_bars if self.is_bars else load_trades
        return load(self.path, self.columns, interval_ns, self.span)

    def _bars(self, interval_ns: int, care: Care) -> Loaded:
        watch = Stopwatch()
        columns, row_ns = read_bars(self.path, self.columns, interval_ns, self.span)
        frame = pl.DataFrame(columns)
        market = market_of_bars(columns.pop("ts_open_ns"), columns, interval_ns, row_ns)
        watch.lap("load")
        report = check_data(frame, care.rules(row_ns), source=str(self.path))
        warnings = care.warnings(report)
        watch.lap("check")
        return Loaded(market, warnings, watch)

    def _trades(
        self, interval_ns: int, care: Care, on_block: Callable[[Block], None] = lambda _block: None
    ) -> Loaded:
        """Block by block; what is let go is read again where a tick within a bar is asked for."""
        file = RowFile(
            self.path,
            TRADE_COLUMNS,
            self.columns,
            block_rows=self.block_rows,
            span=self.span,
        )
        watch = Stopwatch()
        builder, digest = BarBuilder(interval_ns), ColumnsDigest("trades")
        check = TradeCheck(care.rules(interval_ns))
        for block in file.blocks():
            digest.add(block.columns)
            on_block(block)
            watch.lap("load")
            check.add(*(block.columns[name] for name in TRADE_COLUMNS))
            watch.lap("check")
            builder.add(block)
            watch.lap("bars")
        warnings = care.warnings(check.report(str(self.path)))
        watch.lap("check")
        market = builder.market(FileTicks(file), digest.hex())
        watch.lap("bars")
        return Loaded(market, warnings, watch)


class Stopwatch:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self._at_s = monotonic_s()
        self.seconds: dict[str, float] = {"load": 0.0, "check": 0.0, "bars": 0.0}

    def lap(self, name: str) -> None:
        """Counts the time since the last call."""
        before_s, self._at_s = self._at_s, monotonic_s()
        self.seconds[name] += self._at_s - before_s


@dataclass(frozen=True, slots=True)
class Loaded:
    """A market that is fit for a run."""

    market: Market
    warnings: tuple[str, ...]
    """faults of the data that a reader must know"""
    watch: Stopwatch
