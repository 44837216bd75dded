"""Charts of a run as data of Plotly; the page draws them in its own colours.

A colour is the name of a style of the page, such as --up: the page knows light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from tapeline.backtest.report.analysis import Analysis
from tapeline.backtest.report.growth import DAY_NS, Floats, Times, Worth
from tapeline.backtest.report.performance import drawdown_series
from tapeline.backtest.report.thinning import MARKS_MAX, POINTS_MAX, evenly, kept

INSTRUMENTS_MAX: Final = 8
"""charts of prices; more make a page slow"""
DWARFED: Final = 8
"""a benchmark that ranges over so many times what the run does is hidden at first"""
DIGITS: Final = 4
"""of the range of an axis that its ticks may tell apart"""
DIGITS_MAX: Final = 12
"""behind the point"""
LINES: Final = ("--line1", "--line2", "--line3", "--line4", "--line5", "--line6")
Trace = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One drawing with its title and what a reader should know of it."""

    title: str
    data: list[Trace]
    layout: dict[str, Any]
    height: int = 360
    notes: tuple[str, ...] = field(default=())


def charts_of(analysis: Analysis) -> list[Chart]:
    """Worth with drawdown and exposure, then prices with trades by instrument."""
    found = [worth_chart(analysis.worth, analysis)] if analysis.worth is not None else []
    names = analysis.run["fills"]["instrument_id"].drop_nulls().unique(maintain_order=True)
    shown = sorted(names.to_list())[:INSTRUMENTS_MAX]
    found += [price_chart(analysis, name) for name in shown]
    more = len(names) - len(shown)
    if more > 0:
        note = f"{more} more instruments were traded; their prices are not drawn."
        found[-1] = Chart(
            title=found[-1].title,
            data=found[-1].data,
            layout=found[-1].layout,
            notes=(*found[-1].notes, note),
        )
    return found


def worth_chart(worth: Worth, analysis: Analysis) -> Chart:
    """Worth beside the benchmark, drawdown below it, exposure at the bottom."""
    equity = kept(worth.equity)
    data = [line("worth", worth.times_ns[equity], worth.equity[equity], "--line1")]
    notes: tuple[str, ...] = ()
    if analysis.benchmark is not None and analysis.daily is not None:
        # Bought when the run began.
        ends = np.append(worth.times_ns[:1], (analysis.daily.days + 1) * DAY_NS)
        held = worth.start * np.append(1.0, analysis.benchmark.growth)
        places = kept(held)
        beside = line(analysis.benchmark.name, ends[places], held[places], "--muted", dash="dot")
        if np.ptp(held) > DWARFED * max(float(np.ptp(worth.equity)), 1e-9 * worth.start):
            beside["visible"] = "legendonly"
            notes = (
                f"{analysis.benchmark.name} moves so much more than the run that it is hidden: "
                "a click on its name draws it.",
            )
        data.append(beside)
    has_exposure = not np.any(np.isnan(worth.gross))
    if worth.ruined_ns is None:
        drawdown = drawdown_series(worth)
        places = kept(drawdown)
        data.append(
            line("drawdown", worth.times_ns[places], drawdown[places], "--down", axis=2, fill=True)
        )
    if has_exposure:
        data += _exposure_lines(worth)
    return Chart(
        title="Worth, drawdown and exposure",
        data=data,
        height=640 if has_exposure else 480,
        layout=_stacked(data, has_exposure),
        notes=(*notes, *thinned_note("Worth", len(worth.times_ns))),
    )


def _exposure_lines(worth: Worth) -> list[Trace]:
    under = np.where(worth.equity > 0, worth.equity, np.nan)
    traces = []
    for name, values, colour in (
        ("gross exposure", worth.gross / under, "--line3"),
        ("net exposure", worth.net / under, "--line2"),
    ):
        places = kept(values)
        trace = line(name, worth.times_ns[places], values[places], colour, axis=3)
        trace["line"] |= {"shape": "hv", "width": 1}
        traces.append(trace)
    return traces


def _stacked(data: Sequence[Trace], has_exposure: bool) -> dict[str, Any]:
    ranges: dict[str, list[Any]] = {}
    for trace in data:
        ranges.setdefault(trace.get("yaxis", ""), []).append(trace["y"])
    top, middle = ([0.5, 1.0], [0.26, 0.46]) if has_exposure else ([0.36, 1.0], [0.0, 0.3])
    layout: dict[str, Any] = {
        "xaxis": {"type": "date", "anchor": "y3" if has_exposure else "y2"},
        "yaxis": {"domain": top, "title": {"text": "worth"}, **amounts(*ranges.get("", ()))},
        "yaxis2": {
            "domain": middle,
            "title": {"text": "drawdown"},
            **shares(*ranges.get("y2", ())),
        },
        "hovermode": "x unified",
    }
    if has_exposure:
        layout["yaxis3"] = {
            "domain": [0.0, 0.22],
            "title": {"text": "exposure"},
            **shares(*ranges.get("y3", ())),
        }
    return layout


def price_chart(analysis: Analysis, instrument: str) -> Chart:
    """Closing prices with the fills on them."""
    run = analysis.run
    bars = run["bars"].filter(pl.col("instrument_id") == instrument).sort("ts_open_ns")
    fills = run["fills"].filter(pl.col("instrument_id") == instrument).sort("ts_event_ns")
    data: list[Trace] = []
    notes = thinned_note("Price", len(bars))
    if len(bars):
        times = bars["ts_close_ns"].fill_null(pl.Series(bars["ts_open_ns"])).to_numpy()
        close = bars["close"].fill_null(float("nan")).to_numpy()
        places = kept(close)
        data.append(line("close", times[places], close[places], "--muted", width=1.2))
    for side, symbol, colour in (
        ("BUY", "triangle-up", "--up"),
        ("SELL", "triangle-down", "--down"),
    ):
        some = fills.filter(pl.col("side") == side)
        places = evenly(len(some))
        if len(places) < len(some):
            notes += (f"{MARKS_MAX:,} of {len(some):,} {side} fills are drawn.",)
        if len(some):
            data.append(_marks(some[places.tolist()], side, symbol, colour))
    return Chart(
        title=f"Trades in {instrument}",
        data=data,
        layout={
            "xaxis": {"type": "date"},
            "yaxis": {"title": {"text": "price"}, **amounts(*(trace["y"] for trace in data))},
        },
        notes=notes,
    )


def _marks(fills: pl.DataFrame, side: str, symbol: str, colour: str) -> Trace:
    texts = [
        f"{side} {quantity:g} @ {price:g}<br>{escaped(group or '')}"
        for quantity, price, group in fills.select("quantity", "price", "group_id").iter_rows()
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": side.lower(),
        "x": milliseconds(fills["ts_event_ns"].to_numpy()),
        "y": rounded(fills["price"].to_numpy()),
        "text": texts,
        "hoverinfo": "text+x",
        "marker": {"symbol": symbol, "size": 8, "color": colour},
    }


def escaped(text: str) -> str:
    """Text that Plotly does not take for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def line(name: str, times_ns: Times, values: Floats, colour: str, **more: Any) -> Trace:
    """A line; axis, dash, fill and width are options."""
    style: dict[str, Any] = {"color": colour, "width": more.get("width", 1.6)}
    if "dash" in more:
        style["dash"] = more["dash"]
    trace: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": escaped(name),
        "x": milliseconds(times_ns),
        "y": rounded(values),
        "line": style,
    }
    if more.get("axis"):
        trace["yaxis"] = f"y{more['axis']}"
    if more.get("fill"):
        trace |= {"fill": "tozeroy", "fillcolor": f"{colour}-soft"}
    return trace


def amounts(*series: Sequence[float | None] | Floats) -> dict[str, Any]:
    """Of an axis of money or prices: written out, where Plotly would say 0.9999M, with the digits
    that the range needs."""
    return {"tickformat": f",.{_digits(series, 1.0)}~f"}


def shares(*series: Sequence[float | None] | Floats) -> dict[str, Any]:
    """Of an axis of percents, with the digits that the range needs."""
    return {"tickformat": f".{_digits(series, 100.0)}~%"}


def _digits(series: Sequence[Sequence[float | None] | Floats], scale: float) -> int:
    """Behind the point; what is zero there is not shown."""
    values = np.array([value for one in series for value in one], dtype=np.float64)
    values = values[np.isfinite(values)]
    spread = float(np.ptp(values)) * scale if len(values) else 0.0
    if spread <= 0.0:
        return DIGITS
    return min(max(DIGITS - int(np.floor(np.log10(spread))), 0), DIGITS_MAX)


def milliseconds(times_ns: Times) -> list[int]:
    """Times as Plotly reads them."""
    found: list[int] = (times_ns // 1_000_000).tolist()
    return found


def rounded(values: Floats) -> list[float | None]:
    """Seven digits are more than a screen shows; None where there is no number."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values.tolist()]


def thinned_note(what: str, count: int) -> tuple[str, ...]:
    """Says so where not every point is drawn."""
    if count <= POINTS_MAX:
        return ()
    return (
        f"{what}: {count:,} points are drawn as about {POINTS_MAX:,}, with the least and the "
        "highest of every stretch; figures are over all of them.",
    )
