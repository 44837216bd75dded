"""Pieces of an HTML document, and the document whole: one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from tapeline.backtest.report.charts import Chart
from tapeline.backtest.report.figure import Figure, Unit
from tapeline.backtest.report.wording import shown

HERE: Final = files("tapeline.backtest.report")
SIGNED: Final = ("total_return", "annual_return", "net_profit", "alpha", "benchmark_return")
"""figures whose sign is good or bad"""


def document(title: str, parts: Iterable[str], charts: Sequence[Chart]) -> str:
    """The whole page; charts are drawn where chart_places put them."""
    from plotly.offline import get_plotlyjs

    drawn = [
        {"id": f"chart{at}", "data": chart.data, "layout": chart.layout, "height": chart.height}
        for at, chart in enumerate(charts)
        if chart.data
    ]
    # Inside a script only this would end it.
    data = json.dumps(drawn, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_resource('page.css')}</style></head><body><main>",
            *parts,
            "</main>",
            f'<script type="application/json" id="charts">{data}</script>',
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{_resource('page.js')}</script>",
            "</body></html>",
            "",
        ]
    )


def _resource(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def heading(title: str, lines: Sequence[str]) -> str:
    """The head of the page, with the switch of its colours."""
    about = "".join(f'<p class="about">{escape(line)}</p>' for line in lines if line)
    return (
        f"<header><div><h1>{escape(title)}</h1>{about}</div>"
        '<button id="theme" type="button">Light / dark</button></header>'
    )


def warnings_box(warnings: Sequence[str]) -> str:
    """What a reader must know first; nothing where there is nothing."""
    if not warnings:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    return f'<div class="warnings" role="note"><b>Before you believe this</b><ul>{lines}</ul></div>'


def card(title: str, figure: Figure, name: str = "") -> str:
    """One figure, large."""
    reason = f"<small>{escape(figure.reason)}</small>" if figure.value is None else ""
    return (
        f'<div class="card"><h3>{escape(title)}</h3>'
        f'<b class="{tone(figure, name)}">{shown(figure)}</b>{reason}</div>'
    )


def tone(figure: Figure, name: str) -> str:
    """up or down for a figure whose sign is good or bad."""
    if figure.value is None or name not in SIGNED or not figure.value:
        return ""
    return "up" if figure.value > 0 else "down"


def figure_cell(figure: Figure, name: str = "") -> str:
    """A cell with the figure, or a dash and why."""
    if figure.value is None:
        return f'<td class="n" title="{escape(figure.reason)}">–</td>'
    return f'<td class="n {tone(figure, name)}">{shown(figure)}</td>'


def table(head: Sequence[str], rows: Iterable[str], *, numbers_from: int = 1) -> str:
    """Rows of cells under a head; columns from one on are numbers."""
    cells = "".join(
        f'<th class="n">{escape(name)}</th>' if at >= numbers_from else f"<th>{escape(name)}</th>"
        for at, name in enumerate(head)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells}</tr>{body}</table></div>'


def chart_places(charts: Sequence[Chart]) -> list[str]:
    """Where the charts of a document are drawn, each with its title and notes.

    One without data has only its notes: empty axes would look like a finding.
    """
    found = []
    for at, chart in enumerate(charts):
        notes = "".join(f'<p class="note">{escape(note)}</p>' for note in chart.notes)
        place = f'<div class="chart" id="chart{at}" style="min-height:{chart.height}px"></div>'
        drawn = place if chart.data else ""
        found.append(f"<h2>{escape(chart.title)}</h2>{drawn}{notes}")
    return found


def money_figure(value: float) -> Figure:
    """An amount as a figure."""
    return Figure(value, Unit.MONEY)
