"""The parity of two runs as one self-contained HTML page, in the frame of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import numpy as np
import polars as pl

from tapeline.backtest.parity.alignment import ZERO
from tapeline.backtest.parity.attribution import BUCKETS, Parity
from tapeline.backtest.parity.facts import MEANINGS, by_line, changed, facts_of, number
from tapeline.backtest.report.charts import Chart, amounts, line
from tapeline.backtest.report.document import (
    chart_places,
    document,
    heading,
    table,
    warnings_box,
)
from tapeline.backtest.report.thinning import kept
from tapeline.backtest.run_labels import span_text
from tapeline.backtest.run_tables import RunTables

PAIRS_SHOWN: Final = 40
COLOURS: Final = dict(
    zip(
        BUCKETS,
        ("--line1", "--line2", "--line3", "--down", "--line4", "--line5", "--line6"),
        strict=True,
    )
)
CENT: Final = 0.005


def page_of(found: Parity, a: RunTables, b: RunTables) -> str:
    """The page."""
    facts = facts_of(found)
    title = f"Parity: {facts['a']['label']} and {facts['b']['label']}"
    charts = [waterfall(facts), growth(found), equity(a, b, found.labels)]
    places = chart_places(charts)
    parts = [
        heading(title, _about(facts)),
        warnings_box(_cautions(facts)),
        _runs(facts),
        _cards(facts),
        f"<p>{escape(sentence(facts))}</p>",
        places[0],
        _meanings(facts),
        places[1],
        places[2],
        _lines(found),
        _pairs(facts["pairs"]),
    ]
    return document(title, [part for part in parts if part], charts)


def _about(facts: dict[str, Any]) -> list[str]:
    told = [f"All money in {facts['currency'] or 'the base currency'}, B minus A."]
    differing = changed(facts)
    return [*told, f"Parameters that differ: {'; '.join(differing)}."] if differing else told


def money(value: float) -> str:
    """With its sign, two places and thousands."""
    return f"{value:+,.2f}".replace("-", "\u2212") if abs(value) >= CENT else "0.00"


def _tone(value: float) -> str:
    return "up" if value >= CENT else "down" if value <= -CENT else "off"


def _cell(value: float) -> str:
    return f'<td class="n {_tone(value)}">{money(value)}</td>'


def _text(value: str) -> str:
    return f"<td>{escape(value)}</td>"


def _runs(facts: dict[str, Any]) -> str:
    """What A and B are."""
    rows = []
    for letter in "ab":
        run = facts[letter]
        cells = (letter.upper(), run["label"], run["kind"], run["run_id"])
        counts = "".join(f'<td class="n">{run[name]:,}</td>' for name in ("orders", "fills"))
        rows.append("".join(map(_text, cells)) + _text(f"{span_text(run['covers_ns'])}") + counts)
    head = ("", "run", "kind", "run id", "from, to, UTC", "orders", "fills")
    return table(head, rows, numbers_from=5)


def _cards(facts: dict[str, Any]) -> str:
    orders = facts["orders"]
    matched = orders["EXACT"] + orders["NEAR"] + orders["OPPOSITE"]
    cards = (
        ("Profit of A", money(facts["a"]["profit"]), ""),
        ("Profit of B", money(facts["b"]["profit"]), ""),
        ("Gap, B \u2212 A", money(facts["gap"]), _tone(facts["gap"])),
        ("Orders in both", f"{matched:,}", ""),
        ("Only in A / only in B", f"{orders['ONLY_A']:,} / {orders['ONLY_B']:,}", ""),
    )
    listed = (
        f'<div class="card"><h3>{name}</h3><b class="{tone}">{value}</b></div>'
        for name, value, tone in cards
    )
    return f'<div class="cards">{"".join(listed)}</div>'


def sentence(facts: dict[str, Any]) -> str:
    """The finding in words."""
    told = sorted(facts["buckets"].items(), key=lambda item: -abs(item[1]))
    named = [f"{name} {money(value)}" for name, value in told if abs(value) >= CENT]
    if not sum(facts["orders"].values()):
        return f"Neither run placed an order{'.' if not named else ': ' + ', '.join(named) + '.'}"
    if not named:
        return "The two runs made the same money, order by order."
    if abs(facts["gap"]) < CENT:
        return f"The runs made the same money, although they differ: {', '.join(named)}."
    verb = "more" if facts["gap"] > 0 else "less"
    return f"B made {abs(facts['gap']):,.2f} {verb} than A: {', '.join(named)}."


def _cautions(facts: dict[str, Any]) -> list[str]:
    found = list(facts["warnings"])
    bare = [letter.upper() for letter in "ab" if not facts[letter]["orders"]]
    if len(bare) == 1:
        found.append(
            f"{bare[0]} has no orders at all, so every order of the other is missing in it."
        )
    if abs(facts["not_in_the_tables"]) >= CENT:
        found.append(
            f"The runs report another {money(facts['not_in_the_tables'])} between them that their "
            "tables do not tell: splits or corrections."
        )
    return found


def waterfall(facts: dict[str, Any]) -> Chart:
    """From the profit of A over the buckets to the profit of B."""
    values = [facts["a"]["profit"], *(facts["buckets"][name] for name in BUCKETS)]
    values.append(facts["b"]["profit"])
    trace = {
        "type": "waterfall",
        "x": ["profit of A", *BUCKETS, "profit of B"],
        "y": values,
        "measure": ["absolute", *["relative"] * len(BUCKETS), "total"],
        "text": [money(value) for value in values],
        "textposition": "outside",
        "cliponaxis": False,
        "connector": {"line": {"color": "--edge"}},
        "increasing": {"marker": {"color": "--up"}},
        "decreasing": {"marker": {"color": "--down"}},
        "totals": {"marker": {"color": "--muted"}},
    }
    layout = {
        "showlegend": False,
        "margin": {"l": 64, "r": 12, "t": 56, "b": 44},
        "yaxis": amounts(np.append(np.array(values), 0.0)),
    }
    return Chart(title="From A's profit to B's", data=[trace], layout=layout)


def growth(found: Parity) -> Chart:
    """Running sums of each bucket, by the time of the decision."""
    parts = found.parts
    times = np.array([part.pair.ts_ns for part in parts], dtype=np.int64)
    data = []
    for name in BUCKETS:
        total, sums = ZERO, []
        for part in parts:
            total += part.buckets.get(name, ZERO)
            sums.append(number(total))
        if not any(sums):
            continue
        values = np.array(sums)
        places = kept(values)
        trace = line(name, times[places], values[places], COLOURS[name])
        trace["line"]["shape"] = "hv"
        data.append(trace)
    notes = ["Orders alone; funding is in the sum."] if data else ["No order differs."]
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": amounts(*(trace["y"] for trace in data)),
        "hovermode": "x unified",
    }
    return Chart(title="How the gap grew", data=data, layout=layout, notes=tuple(notes))


def equity(a: RunTables, b: RunTables, labels: tuple[str, str] = ("A", "B")) -> Chart:
    """Of both runs, summed over their accounts."""
    data = []
    looks = (("A", a, "--line1", "solid"), ("B", b, "--line2", "dot"))
    for label, (name, run, colour, dash) in zip(labels, looks, strict=True):
        rows = run["equity"].group_by("ts_event_ns").agg(pl.col("equity").sum()).sort("ts_event_ns")
        if not rows.height:
            continue
        values = rows["equity"].fill_null(float("nan")).to_numpy()
        places = kept(values)
        times = rows["ts_event_ns"].to_numpy()
        data.append(line(f"{name}: {label}", times[places], values[places], colour, dash=dash))
    notes = () if data else ("Neither run has a table of its equity.",)
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": amounts(*(trace["y"] for trace in data)),
        "hovermode": "x unified",
    }
    return Chart(title="Equity of both", data=data, layout=layout, notes=notes)


def _meanings(facts: dict[str, Any]) -> str:
    rows = [
        f"{_text(name)}{_text(MEANINGS[name])}{_cell(facts['buckets'][name])}" for name in BUCKETS
    ]
    rows.append(f"<td><b>gap</b></td><td>their sum, exactly</td>{_cell(facts['gap'])}")
    return table(["bucket", "what it holds", "B \u2212 A"], rows, numbers_from=2)


def _lines(found: Parity) -> str:
    rows = []
    for row in by_line(found):
        names = _text(row["group_id"] or "\u2014") + _text(row["instrument_id"] or "\u2014")
        rows.append(names + "".join(_cell(row[name]) for name in ("gap", *BUCKETS)))
    if not rows:
        return ""
    head = ["group", "instrument", "gap", *BUCKETS]
    return f"<h2>By group and instrument</h2>{table(head, rows, numbers_from=2)}"


def _pairs(pairs: Sequence[dict[str, Any]]) -> str:
    telling = [pair for pair in pairs if abs(pair["gap"]) >= CENT or pair["buckets"]]
    shown = sorted(telling, key=lambda pair: -abs(pair["gap"]))[:PAIRS_SHOWN]
    if not shown:
        return ""
    more = f" (of {len(telling):,} that differ)" if len(telling) > len(shown) else ""
    head = ["decided, UTC", "group", "instrument", "match", "A", "B", "because of", "gap"]
    rows = [_pair_row(pair) for pair in shown]
    return f"<h2>The orders that made most of it{more}</h2>{table(head, rows, numbers_from=7)}"


def _pair_row(pair: dict[str, Any]) -> str:
    causes = sorted(pair["buckets"].items(), key=lambda item: -abs(item[1]))
    told = [f"{name} {money(value)}" for name, value in causes if abs(value) >= CENT]
    match = pair["match"].replace("_", " ").lower().replace(" a", " A").replace(" b", " B")
    cells = (
        f"{datetime.fromtimestamp(pair['ts_decided_ns'] / 1e9, UTC):%Y-%m-%d %H:%M:%S}",
        pair["group_id"],
        pair["instrument_id"],
        f"{match} {pair['leg'].replace('_', ' ').lower()}".strip(),
        _deal(pair["a"]),
        _deal(pair["b"]),
        ", ".join(told) or "\u2014",
    )
    return "".join(_text(cell) for cell in cells) + _cell(pair["gap"])


def _deal(order: dict[str, Any] | None) -> str:
    if order is None:
        return "none"
    if not order["filled"]:
        return f"{order['status'].lower()} {order['code']}".strip() or "not filled"
    return f"{order['side'].lower()} {order['filled']:,.6g} at {order['price']:,.6g}"
