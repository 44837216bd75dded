"""The parity of two runs as one self-contained HTML page; everything it needs is inside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import plotly.graph_objects as go
import polars as pl
from plotly.offline import get_plotlyjs

from tapeline.backtest.alignment import ZERO
from tapeline.backtest.parity import BUCKETS, Parity
from tapeline.backtest.parity_facts import MEANINGS, by_line, facts_of, number
from tapeline.backtest.run_tables import RunTables

PAIRS_SHOWN: Final = 40
POINTS_MAX: Final = 4000
"""Of a line in a plot; more cannot be seen and make the page slow."""
COLOURS: Final = dict(
    zip(
        BUCKETS,
        ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d"),
        strict=True,
    )
)
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #f6f7f9; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 34px 0 8px; }
p { margin: 4px 0 10px; }
.dim { color: #5b6470; } .bad { color: #b42318; } .good { color: #1a7f4b; }
.cards { display: flex; gap: 14px; flex-wrap: wrap; margin: 18px 0; }
.card, .panel { background: #fff; border: 1px solid #e1e5ea; border-radius: 8px; }
.card { padding: 12px 18px; flex: 1 1 150px; }
.card b { display: block; font-size: 21px; white-space: nowrap; }
.card b, .n { font-variant-numeric: tabular-nums; }
.panel { padding: 10px 14px; overflow-x: auto; }
.warn { background: #fff7e6; border: 1px solid #f0d090; border-radius: 8px; }
.warn { padding: 8px 14px; margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: #5b6470; border-bottom: 1px solid #d5dae0; padding: 5px 8px; }
td { padding: 4px 8px; border-bottom: 1px solid #eef0f3; white-space: nowrap; }
td.n, th.n { text-align: right; }
td.w { white-space: normal; }
"""


def page_of(found: Parity, a: RunTables, b: RunTables) -> str:
    """The page."""
    facts = facts_of(found)
    title = f"Parity: {facts['a']['title']} and {facts['b']['title']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">A is {_named(facts["a"])}; B is {_named(facts["b"])}. '
        f"All money in {escape(facts['currency'] or 'the base currency')}, B minus A.</p>",
        _cards(facts),
        f"<p>{_sentence(facts)}</p>",
        *(f'<div class="warn">{escape(text)}</div>' for text in _cautions(facts)),
        "<h2>From A's profit to B's</h2>",
        _panel(_waterfall(facts)),
        _meanings(facts),
        "<h2>How the gap grew</h2>",
        _panel(_growth(found)),
        "<h2>Equity of both</h2>",
        _panel(_equity(a, b)),
        "<h2>By group and instrument</h2>",
        _lines(found),
        f"<h2>The {PAIRS_SHOWN} orders that made most of it</h2>",
        _pairs(facts["pairs"]),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _named(run: dict[str, Any]) -> str:
    return f"{escape(run['title'])} ({escape(run['kind'])}, {run['fills']:,} fills)"


def money(value: float) -> str:
    """With its sign, two places and thousands."""
    return f"{value:+,.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0.00"


def _tone(value: float) -> str:
    return "good" if value >= 0.005 else "bad" if value <= -0.005 else "dim"


def _cards(facts: dict[str, Any]) -> str:
    orders = facts["orders"]
    matched = orders["EXACT"] + orders["NEAR"] + orders["OPPOSITE"]
    cards = [
        ("Profit of A", money(facts["a"]["profit"]), ""),
        ("Profit of B", money(facts["b"]["profit"]), ""),
        ("Gap, B \u2212 A", money(facts["gap"]), _tone(facts["gap"])),
        ("Orders matched", f"{matched:,}", ""),
        ("Only in A / only in B", f"{orders['ONLY_A']:,} / {orders['ONLY_B']:,}", ""),
    ]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span class="dim">{name}</span><b class="{tone}">{value}</b></div>'
            for name, value, tone in cards
        )
        + "</div>"
    )


def _sentence(facts: dict[str, Any]) -> str:
    """The finding in words."""
    told = sorted(facts["buckets"].items(), key=lambda item: -abs(item[1]))
    named = [f"{name} {money(value)}" for name, value in told if abs(value) >= 0.005]
    if not named:
        return "The two runs made the same money, order by order."
    if abs(facts["gap"]) < 0.005:
        return f"The runs made the same money, although they differ: {', '.join(named)}."
    verb = "more" if facts["gap"] > 0 else "less"
    return f"B made {abs(facts['gap']):,.2f} {verb} than A: {', '.join(named)}."


def _cautions(facts: dict[str, Any]) -> list[str]:
    found = list(facts["warnings"])
    if abs(facts["not_in_the_tables"]) >= 0.005:
        found.append(
            f"The runs report another {money(facts['not_in_the_tables'])} between them that their "
            "tables do not tell: rates of currencies, splits or corrections."
        )
    return found


def _panel(figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 20, "b": 40},
        height=340,
        legend={"orientation": "h", "y": 1.12},
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    html = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    return f'<div class="panel">{html}</div>'


def _waterfall(facts: dict[str, Any]) -> go.Figure:
    values = [facts["buckets"][name] for name in BUCKETS]
    return go.Figure(
        go.Waterfall(
            x=["profit of A", *BUCKETS, "profit of B"],
            y=[facts["a"]["profit"], *values, facts["b"]["profit"]],
            measure=["absolute", *["relative"] * len(BUCKETS), "total"],
            text=[money(value) for value in (facts["a"]["profit"], *values, facts["b"]["profit"])],
            textposition="outside",
            cliponaxis=False,
            connector={"line": {"color": "#c3c9d1"}},
            increasing={"marker": {"color": "#54a24b"}},
            decreasing={"marker": {"color": "#e45756"}},
            totals={"marker": {"color": "#7a8594"}},
        )
    )


def _growth(found: Parity) -> go.Figure:
    """Running sums of each bucket, by the time of the decision."""
    figure = go.Figure()
    parts = found.parts
    for name in BUCKETS:
        if not any(part.buckets.get(name) for part in parts):
            continue
        total, sums = ZERO, []
        for part in parts:
            total += part.buckets.get(name, ZERO)
            sums.append(number(total))
        times = [_moment(part.pair.ts_ns) for part in parts]
        step = max(1, len(sums) // POINTS_MAX)
        figure.add_scatter(
            x=times[::step],
            y=sums[::step],
            name=name,
            mode="lines",
            line={"shape": "hv", "color": COLOURS[name]},
        )
    if not figure.data:
        figure.add_annotation(text="No order differs.", showarrow=False, font={"size": 15})
    return figure


def _equity(a: RunTables, b: RunTables) -> go.Figure:
    figure = go.Figure()
    for name, run, colour in (("A", a, "#4c78a8"), ("B", b, "#f58518")):
        rows = run["equity"].group_by("ts_event_ns").agg(pl.col("equity").sum()).sort("ts_event_ns")
        rows = rows.gather_every(max(1, rows.height // POINTS_MAX))
        figure.add_scatter(
            x=[_moment(ts_ns) for ts_ns in rows["ts_event_ns"]],
            y=rows["equity"].to_list(),
            name=f"{name}: {run.description.title or run.description.run_id}",
            mode="lines",
            line={"color": colour, "dash": "solid" if name == "A" else "dot"},
        )
    return figure


def _moment(ts_ns: int) -> datetime:
    return datetime.fromtimestamp(ts_ns / 1e9, UTC)


def _table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Heads with their cell class; cells are HTML."""
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in heads)
    lines = (
        "<tr>"
        + "".join(
            f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(row, heads, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="panel"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _toned(value: float) -> str:
    return f'<span class="{_tone(value)}">{money(value)}</span>'


def _meanings(facts: dict[str, Any]) -> str:
    heads = [("bucket", ""), ("money", "n"), ("what it holds", "w")]
    rows = [[name, _toned(facts["buckets"][name]), MEANINGS[name]] for name in BUCKETS]
    total = ["<b>gap</b>", _toned(facts["gap"]), "their sum, exactly"]
    return _table(heads, [*rows, total])


def _lines(found: Parity) -> str:
    heads = [("group", ""), ("instrument", ""), ("gap", "n"), *((name, "n") for name in BUCKETS)]
    return _table(
        heads,
        (
            [
                escape(row["group_id"] or "\u2014"),
                escape(row["instrument_id"] or "\u2014"),
                *(_toned(row[name]) for name in ("gap", *BUCKETS)),
            ]
            for row in by_line(found)
        ),
    )


def _pairs(pairs: Sequence[dict[str, Any]]) -> str:
    shown = sorted(pairs, key=lambda pair: -abs(pair["gap"]))[:PAIRS_SHOWN]
    heads = [
        *(("decided, UTC", ""), ("group", ""), ("instrument", ""), ("match", "")),
        *(("A", ""), ("B", ""), ("gap", "n"), ("because of", "w")),
    ]
    return _table(heads, (_pair_row(pair) for pair in shown))


def _pair_row(pair: dict[str, Any]) -> list[str]:
    causes = sorted(pair["buckets"].items(), key=lambda item: -abs(item[1]))
    told = [f"{name} {money(value)}" for name, value in causes if abs(value) >= 0.005]
    return [
        f"{_moment(pair['ts_decided_ns']):%Y-%m-%d %H:%M:%S}",
        escape(pair["group_id"]),
        escape(pair["instrument_id"]),
        pair["match"].lower().replace("_", " ")
        + (f" {pair['leg'].lower()}" if pair["leg"] else ""),
        _deal(pair["a"]),
        _deal(pair["b"]),
        _toned(pair["gap"]),
        ", ".join(told) or "\u2014",
    ]


def _deal(order: dict[str, Any] | None) -> str:
    if order is None:
        return '<span class="dim">none</span>'
    if not order["filled"]:
        return f'<span class="dim">{escape(order["status"].lower())} {escape(order["code"])}</span>'
    return f"{order['side'].lower()} {order['filled']:,.6g} at {order['price']:,.6g}"
