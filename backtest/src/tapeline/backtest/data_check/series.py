"""One instrument's data as columns, and the rules by which they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tapeline.backtest.data_check.findings import Finding, Severity
from tapeline.backtest.data_check.open_time import HOUR_NS, Times
from tapeline.runtime.exits import USAGE, Failure

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FORMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "bars": ("ts_open_ns", ("open", "high", "low", "close")),
    "quotes": ("ts_event_ns", ("bid_price", "ask_price")),
    "trades": ("ts_event_ns", ("price",)),
}
"""Form -> its column of time, and its columns of prices."""
VOLUMES: Final[Mapping[str, str]] = {"bars": "volume", "trades": "size"}
NAMES: Final = ("instrument_id", "symbol")
"""columns that say of which instrument a row is"""


class NotMarketData(Failure):
    """A table without the columns of trades, quotes or bars."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where the check draws its lines."""

    interval_ns: int = 0
    """of bars; 0: the most frequent distance of two bars. Of ticks, at which presence is counted"""
    calendar: str = ""
    """24/7 or an exchange such as XNYS; inferred from the data where empty"""
    silence_ns_max: int = HOUR_NS
    """longer silence of ticks in open market is a gap"""
    disorder_ns_max: int = 0
    """a row that is older than the one before it by no more is no fault"""
    coverage_min: float = 0.5
    """bars that cover less of the open market of a named calendar are an error"""
    coverage_good: float = 0.99
    """and less than this a warning"""
    spike_deviations: float = 10.0
    """robust deviations from the median of the neighbours"""
    spike_floor: float = 0.002
    """a deviation counts as at least this fraction of the median"""
    absurd_ratio: float = 3.0
    """a price that many times its neighbours' median, or the reverse, is an error"""
    neighbours: int = 15
    """on each side of a price"""
    frozen_bars_min: int = 30
    """so many bars in a row without any movement or volume look filled in"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Columns of one instrument, in the order given; null is NaN."""

    instrument: str
    form: str
    rows: Times
    """row of each in the whole table"""
    times_ns: Times
    prices: Mapping[str, Floats]
    volume: Floats | None
    frame: pl.DataFrame

    @property
    def price(self) -> Floats:
        """The one price that stands for all: trade, mid or close."""
        if self.form == "quotes":
            return (self.prices["bid_price"] + self.prices["ask_price"]) / 2.0
        return self.prices["close" if self.form == "bars" else "price"]

    def finding(self, code: str, severity: Severity, flags: Flags, meaning: str) -> list[Finding]:
        """A finding where any row is flagged; `{name}` in its meaning is the first one's value."""
        places = np.flatnonzero(flags)
        if not len(places):
            return []
        first = int(places[0])
        figures = {name: f"{values[first]:g}" for name, values in self.prices.items()}
        if self.volume is not None:
            figures["volume"] = f"{self.volume[first]:g}"
        return [self.at(code, severity, len(places), first, meaning.format(**figures))]

    def at(self, code: str, severity: Severity, count: int, first: int, meaning: str) -> Finding:
        """A finding with its first example at a place of this series; -1 for none."""
        return Finding(
            code=code,
            severity=severity,
            count=count,
            first_ns=int(self.times_ns[first]) if first >= 0 else 0,
            first_row=int(self.rows[first]) if first >= 0 else -1,
            meaning=meaning,
            instrument=self.instrument,
        )


def form_of(frame: pl.DataFrame) -> str:
    """bars, quotes or trades; raises NotMarketData."""
    for form, (time, prices) in FORMS.items():
        if {time, *prices} <= set(frame.columns):
            return form
    raise NotMarketData(
        f"The columns {', '.join(frame.columns)} are neither trades, quotes nor bars.",
        "Trades need ts_event_ns and price; quotes ts_event_ns, bid_price and ask_price; bars "
        "ts_open_ns, open, high, low and close. Map other names to these.",
    )


def series_of(frame: pl.DataFrame, instrument: str = "") -> list[Series]:
    """The series of a table, one an instrument where a column names it; raises NotMarketData."""
    form = form_of(frame)
    name = next((name for name in NAMES if name in frame.columns), None)
    if name is None or frame.is_empty():
        return [_series(frame, form, instrument, np.arange(len(frame), dtype=np.int64))]
    numbered = frame.with_row_index("__row")
    return [
        _series(part.drop("__row"), form, str(key[0]), part["__row"].cast(pl.Int64).to_numpy())
        for key, part in numbered.partition_by(
            name, as_dict=True, maintain_order=True, include_key=True
        ).items()
    ]


def _series(frame: pl.DataFrame, form: str, instrument: str, rows: Times) -> Series:
    time, prices = FORMS[form]
    if not frame.schema[time].is_integer() or frame[time].null_count():
        raise NotMarketData(
            f"The column {time} is {frame.schema[time]} with {frame[time].null_count()} nulls.",
            "Times are whole nanoseconds UTC since 1970, one in every row.",
        )
    volume = VOLUMES.get(form, "")
    return Series(
        instrument=instrument,
        form=form,
        rows=rows,
        times_ns=frame[time].cast(pl.Int64).to_numpy(),
        prices={name: _floats(frame, name) for name in prices},
        volume=_floats(frame, volume) if volume in frame.columns else None,
        frame=frame,
    )


def _floats(frame: pl.DataFrame, name: str) -> Floats:
    if not frame.schema[name].is_numeric() and frame.schema[name] != pl.Null:
        raise NotMarketData(
            f"The column {name} is {frame.schema[name]}, not a number.",
            "Prices and sizes are numbers; decimals and text must be cast first.",
        )
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
