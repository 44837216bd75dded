"""Several runs side by side: their figures with the differences from the first, growth drawn over
each other, and what they were told that differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Final

from tapeline.backtest.report.analysis import Analysis, facts_of
from tapeline.backtest.report.catalogue import FIGURES, SECTIONS
from tapeline.backtest.report.charts import LINES, Chart, Trace, line, shares, thinned_note
from tapeline.backtest.report.document import (
    chart_places,
    document,
    figure_cell,
    heading,
    table,
    warnings_box,
)
from tapeline.backtest.report.figure import Figure
from tapeline.backtest.report.performance import drawdown_series
from tapeline.backtest.report.thinning import POINTS_MAX, kept
from tapeline.backtest.report.wording import signed
from tapeline.backtest.run_labels import labels_of, span_of, span_text
from tapeline.runtime.exits import USAGE, Failure

RUNS_MAX: Final = 50
COLOURED: Final = len(LINES)
NOT_SAID: Final = "–"


class TooManyRuns(Failure):
    """More runs than a page can show."""

    exit_code = USAGE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs under names of their own, the first being what the others are held against."""

    names: tuple[str, ...]
    """as they were asked for"""
    analyses: tuple[Analysis, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What people call them."""
        return labels_of([analysis.run for analysis in self.analyses])

    def difference(self, figure: str, at: int) -> float | None:
        """A figure of a run less that of the first; None where either has no value."""
        mine = self.analyses[at].figures[figure].value
        first = self.analyses[0].figures[figure].value
        return None if mine is None or first is None else mine - first

    @property
    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        """What the runs were told: (name, value of each), those that differ first."""
        each = [_told(analysis) for analysis in self.analyses]
        names = sorted({name for one in each for name in one})
        rows = [(name, tuple(one.get(name, NOT_SAID) for one in each)) for name in names]
        return sorted(rows, key=lambda row: len(set(row[1])) == 1)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the runs may not be comparable, then each run's own."""
        found = [*self._unlike()]
        each = [analysis.warnings for analysis in self.analyses]
        of_all = [warning for warning in each[0] if all(warning in one for one in each)]
        found += [f"all: {warning}" for warning in of_all]
        for name, warnings in zip(self.labels, each, strict=True):
            found += [f"{name}: {warning}" for warning in warnings if warning not in of_all]
        return tuple(found)

    def _unlike(self) -> list[str]:
        found = []
        periods = {analysis.period for analysis in self.analyses}
        if len(periods) > 1:
            found.append("the runs do not cover the same days by the same calendar")
        if len({analysis.description.base_currency for analysis in self.analyses}) > 1:
            found.append("the runs have different base currencies")
        switched = {
            tuple((one.name, one.value, one.is_on) for one in analysis.description.assumptions)
            for analysis in self.analyses
        }
        if len(switched) > 1:
            found.append("the runs take different things for granted: see what differs")
        return found


def compare(names: Sequence[str], analyses: Sequence[Analysis]) -> Comparison:
    """Runs to compare; names that come again get a number. Raises TooManyRuns."""
    if len(analyses) > RUNS_MAX:
        raise TooManyRuns(
            f"{len(analyses)} runs are too many to compare.", f"Name at most {RUNS_MAX}."
        )
    distinct = [
        f"{name} ({list(names[:at]).count(name) + 1})" if name in names[:at] else name
        for at, name in enumerate(names)
    ]
    return Comparison(names=tuple(distinct), analyses=tuple(analyses))


def _told(analysis: Analysis) -> dict[str, str]:
    facts = analysis.description
    return {
        "kind": facts.kind,
        "data": facts.source,
        "period": analysis.period,
        "starting cash": facts.starting_cash,
        "groups": ", ".join(facts.groups),
        "instruments": ", ".join(facts.instruments),
        "digest": facts.digest[:16],
        **{f"parameter {name}": value for name, value in facts.parameters.items()},
        **{
            f"assumption {one.name}": one.value if one.is_on else f"{one.value} (off)"
            for one in facts.assumptions
        },
    }


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison for scripts."""
    return {
        "runs": [
            {"name": name, "label": label, **facts_of(analysis)}
            for name, label, analysis in zip(
                comparison.names, comparison.labels, comparison.analyses, strict=True
            )
        ],
        "differences": {
            figure: [comparison.difference(figure, at) for at in range(len(comparison.names))]
            for figure in FIGURES
        },
        "differs": {name: list(values) for name, values in comparison.told if len(set(values)) > 1},
        "warnings": list(comparison.warnings),
    }


def comparison_page(comparison: Comparison) -> str:
    """The comparison, one HTML file."""
    charts = [_growth_chart(comparison), _drawdown_chart(comparison)]
    charts = [chart for chart in charts if chart.data]
    title = f"{len(comparison.names)} runs side by side"
    periods = list(dict.fromkeys(analysis.period for analysis in comparison.analyses))
    lines = [f"differences are from {comparison.labels[0]}", *periods[:3]]
    return document(
        title,
        [
            heading(title, lines),
            warnings_box(comparison.warnings),
            _run_table(comparison),
            *chart_places(charts),
            _figure_table(comparison),
            _told_table(comparison),
        ],
        charts,
    )


def _growth_chart(comparison: Comparison) -> Chart:
    data = []
    notes: tuple[str, ...] = ()
    for at, analysis in enumerate(comparison.analyses):
        worth = analysis.worth
        if worth is None:
            continue
        growth = worth.growth - 1.0
        places = kept(growth)
        notes = notes or thinned_note("Growth", len(growth))
        label = comparison.labels[at]
        data.append(line(label, worth.times_ns[places], growth[places], **_look(at)))
    return Chart(
        title="Growth",
        data=data,
        layout=_layout(data),
        height=420,
        notes=notes,
    )


def _drawdown_chart(comparison: Comparison) -> Chart:
    data = []
    for at, analysis in enumerate(comparison.analyses):
        worth = analysis.worth
        if worth is None or worth.ruined_ns is not None:
            continue
        drawdown = drawdown_series(worth)
        places = kept(drawdown, POINTS_MAX // 2)
        data.append(
            line(comparison.labels[at], worth.times_ns[places], drawdown[places], **_look(at))
        )
    return Chart(
        title="Drawdown",
        data=data,
        layout=_layout(data),
        height=280,
    )


def _layout(data: Sequence[Trace]) -> dict[str, Any]:
    """Labels are long, and below the chart they are in nobody's way."""
    return {
        "xaxis": {"type": "date"},
        "yaxis": shares(*(trace["y"] for trace in data)),
        "margin": {"l": 64, "r": 12, "t": 32, "b": 36},
        "legend": {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0},
    }


def _run_table(comparison: Comparison) -> str:
    """Which run is which."""
    rows = []
    for name, label, analysis in zip(
        comparison.names, comparison.labels, comparison.analyses, strict=True
    ):
        facts = analysis.description
        span = span_text(span_of(analysis.run))
        cells = (facts.kind, span, Path(facts.source).name)
        rows.append(
            f'<td>{escape(label)}</td><td class="id">{escape(name)}</td>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        )
    head = ("run", "run id", "kind", "from, to, UTC", "data")
    return table(head, rows, numbers_from=len(head))


def _look(at: int) -> dict[str, Any]:
    """A colour, and from the seventh run on another dash."""
    dashes = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
    return {"colour": LINES[at % COLOURED], "dash": dashes[at // COLOURED % len(dashes)]}


def _figure_table(comparison: Comparison) -> str:
    head = ("figure", *comparison.labels)
    rows = []
    for section, entries in SECTIONS.items():
        rows.append(f'<th colspan="{len(head)}">{escape(section)}</th>')
        for name, entry in entries.items():
            cells = [
                _with_difference(analysis.figures[name], name, comparison.difference(name, at), at)
                for at, analysis in enumerate(comparison.analyses)
            ]
            rows.append(f"<td>{escape(entry.title)}</td>{''.join(cells)}")
    return f"<h2>Figures</h2>{table(head, rows)}"


def _with_difference(figure: Figure, name: str, difference: float | None, at: int) -> str:
    cell = figure_cell(figure, name)
    if at == 0 or difference is None:
        return cell
    return cell.replace("</td>", f"<small>{signed(Figure(difference, figure.unit))}</small></td>")


def _told_table(comparison: Comparison) -> str:
    head = ("what the runs were told", *comparison.labels)
    rows = []
    for name, values in comparison.told:
        differs = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td{differs}>{escape(value) or NOT_SAID}</td>" for value in values)
        rows.append(f"<td{differs}>{escape(name)}</td>{cells}")
    return (
        f"<h2>What differs</h2>{table(head, rows, numbers_from=99)}"
        '<p class="note">Marked rows differ between the runs.</p>'
    )
