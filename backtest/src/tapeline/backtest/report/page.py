"""The report of one run as a page."""

from __future__ import annotations

from html import escape
from typing import Final

import polars as pl

from tapeline.backtest.report.analysis import Analysis
from tapeline.backtest.report.catalogue import FIGURES, LEADING, PART_COLUMNS, SECTIONS
from tapeline.backtest.report.charts import charts_of
from tapeline.backtest.report.document import (
    card,
    chart_places,
    document,
    figure_cell,
    heading,
    table,
    warnings_box,
)
from tapeline.backtest.report.performance import day_text
from tapeline.backtest.report.trading import Part
from tapeline.backtest.report.wording import counted, days, money

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TRIPS_SHOWN: Final = 5
PARTS_MAX: Final = 200
"""rows of groups or instruments"""


def page_of(analysis: Analysis) -> str:
    """The whole report, one HTML file."""
    charts = charts_of(analysis)
    places = chart_places(charts)
    first, rest = (places[:1], places[1:]) if analysis.worth is not None else ([], places)
    title = analysis.description.title or analysis.description.run_id
    parts = [
        heading(title, _about(analysis)),
        warnings_box(analysis.warnings),
        _cards(analysis),
        *first,
        _months(analysis),
        *rest,
        _figures(analysis),
        _parts("Groups", analysis.trading.groups),
        _parts("Instruments", analysis.trading.instruments),
        _trips(analysis),
        _assumptions(analysis),
        _reproduce(analysis),
    ]
    return document(title, [part for part in parts if part], charts)


def _about(analysis: Analysis) -> list[str]:
    facts = analysis.description
    currency = f" {facts.base_currency}" if facts.base_currency else ""
    start = money(float(facts.starting_cash or 0))
    return [
        f"{facts.kind} {facts.run_id} – {facts.source}" if facts.source else facts.run_id,
        f"{analysis.period} – starting cash {start}{currency}",
        ", ".join(f"{name} {value}" for name, value in facts.parameters.items()),
        f"{counted(len(analysis.run['fills']), 'fill')}, "
        f"{counted(analysis.trading.total.round_trips, 'round trip')}"
        + (f" – benchmark: {analysis.benchmark.name}" if analysis.benchmark is not None else ""),
    ]


def _cards(analysis: Analysis) -> str:
    cards = [card(FIGURES[name].title, analysis.figures[name], name) for name in LEADING]
    return f'<div class="cards">{"".join(cards)}</div>'


def _figures(analysis: Analysis) -> str:
    blocks = []
    for section, entries in SECTIONS.items():
        rows = []
        for name, entry in entries.items():
            figure = analysis.figures[name]
            why = f"<small>none: {escape(figure.reason)}</small>" if figure.value is None else ""
            rows.append(
                f"<td>{escape(entry.title)}<small>{escape(entry.meaning)}</small>{why}</td>"
                + figure_cell(figure, name)
            )
        blocks.append(f"<div>{table((section, ''), rows)}</div>")
    return f'<h2>Figures</h2><div class="columns">{"".join(blocks)}</div>'


def _months(analysis: Analysis) -> str:
    """A row a year, a cell a month, as strong as the return."""
    months = {(year, month): gained for year, month, gained in analysis.months}
    if not months:
        return ""
    strongest = max(abs(gained) for gained in months.values()) or 1.0
    rows = []
    for year in sorted({year for year, _ in months}):
        cells, whole = [], 1.0
        for month in range(1, 13):
            gained = months.get((year, month))
            cells.append(_month_cell(gained, strongest))
            whole *= 1.0 + (gained or 0.0)
        rows.append(f"<td>{year}</td>{''.join(cells)}{_month_cell(whole - 1.0, 0.0)}")
    grid = table(("", *MONTHS, "year"), rows)
    return f'<h2>Monthly returns, %</h2><div class="months">{grid}</div>'


def _month_cell(gained: float | None, strongest: float) -> str:
    if gained is None:
        return '<td class="n"></td>'
    kind = "up" if gained >= 0 else "down"
    depth = 0.08 + 0.5 * abs(gained) / strongest if strongest else 0.0
    return (
        f'<td class="n" style="background:rgba(var(--{kind}-rgb),{depth:.2f})">'
        f"{100 * gained:,.2f}</td>"
    )


def _parts(title: str, parts: tuple[Part, ...]) -> str:
    if not parts:
        return ""
    head = (title, "fills", "round trips", *(FIGURES[name].title for name in PART_COLUMNS))
    rows = [
        f"<td>{escape(part.name or '(none)')}</td>"
        f'<td class="n">{part.fills:,}</td><td class="n">{part.round_trips:,}</td>'
        + "".join(figure_cell(part.figures[name], name) for name in PART_COLUMNS)
        for part in parts[:PARTS_MAX]
    ]
    more = len(parts) - PARTS_MAX
    note = f'<p class="note">{more} more are in the JSON report.</p>' if more > 0 else ""
    return f"<h2>{title}</h2>{table(head, rows)}{note}"


def _trips(analysis: Analysis) -> str:
    trips = analysis.trips.sort("profit", maintain_order=True)
    if trips.is_empty():
        return ""
    worst = trips.filter(pl.col("profit") < 0).head(TRIPS_SHOWN)
    best = trips.filter(pl.col("profit") > 0).tail(TRIPS_SHOWN).reverse()
    blocks = []
    for title, some in (("Best round trips", best), ("Worst round trips", worst)):
        head = (title, "quantity", "entry", "exit", "held", "profit")
        rows = [
            f"<td>{escape(row['instrument_id'])} {row['position_side'].lower()}"
            f"<small>{day_text(row['ts_exit_ns'] // 86_400_000_000_000)} "
            f"{escape(row['group_id'])}</small></td>"
            f'<td class="n">{row["quantity"]:g}</td>'
            f'<td class="n">{row["entry_price"]:,.6g}</td>'
            f'<td class="n">{row["exit_price"]:,.6g}</td>'
            f'<td class="n">{days((row["ts_exit_ns"] - row["ts_entry_ns"]) / 86_400e9)}</td>'
            f'<td class="n {"up" if row["profit"] > 0 else "down"}">{money(row["profit"])}</td>'
            for row in some.iter_rows(named=True)
        ]
        if rows:
            blocks.append(f"<div>{table(head, rows)}</div>")
    if not blocks:
        return ""
    return f'<h2>Round trips</h2><div class="columns">{"".join(blocks)}</div>'


def _assumptions(analysis: Analysis) -> str:
    assumed = analysis.description.assumptions
    if not assumed:
        return "<h2>Assumptions</h2><p class='note'>The run does not say what it assumes.</p>"
    rows = [
        f'<td class="{"" if one.is_on else "off"}">{escape(one.name)}</td>'
        f"<td>{escape(one.value)}{'' if one.is_on else ' (switched off)'}</td>"
        f"<td>{escape(one.meaning)}</td>"
        for one in assumed
    ]
    return "<h2>Assumptions</h2>" + table(("assumption", "value", "meaning"), rows, numbers_from=9)


def _reproduce(analysis: Analysis) -> str:
    facts = analysis.description
    rows = [f"<td>{escape(name)}</td><td>{escape(value)}</td>" for name, value in _origin(analysis)]
    rows += [
        f"<td>{escape(name)}</td><td><code>{escape(value)}</code></td>"
        for name, value in sorted(facts.parameters.items())
    ]
    command = (
        f"<pre>{escape(facts.command)}</pre>"
        if facts.command
        else '<p class="note">The run does not say by which command it was made.</p>'
    )
    same = (
        '<p class="note">The same run gives the same digest: '
        f"<code>{escape(facts.digest)}</code></p>"
        if facts.digest
        else ""
    )
    listed = table(("fact or parameter", "value"), rows, numbers_from=9)
    return f"<h2>How to reproduce it</h2>{command}{same}{listed}"


def _origin(analysis: Analysis) -> list[tuple[str, str]]:
    facts = analysis.description
    speed = facts.events / facts.engine_seconds if facts.engine_seconds else 0.0
    found = [
        ("data", facts.source),
        ("events", f"{facts.events:,}" if facts.events else ""),
        ("engine", f"{facts.engine_seconds:.3g} s, {speed:,.0f} events/s" if speed else ""),
        ("final worth", facts.final_equity if facts.final_equity != "0" else ""),
        ("fees", facts.fees if facts.fees != "0" else ""),
    ]
    return [(name, value) for name, value in found if value]
