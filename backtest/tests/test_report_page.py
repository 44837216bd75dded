"""The page of a report: whole, offline, bounded, and harmless whatever a run is called."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from made_runs import DAY_NS, MONDAY_NS, bar_rows, crossover, equity_rows, fill, made

from tapeline.backtest.report.analysis import analyse
from tapeline.backtest.report.catalogue import FIGURES
from tapeline.backtest.report.charts import INSTRUMENTS_MAX, Chart, amounts, charts_of, shares
from tapeline.backtest.report.document import document
from tapeline.backtest.report.figure import Figure, Unit
from tapeline.backtest.report.page import page_of
from tapeline.backtest.report.thinning import POINTS_MAX, kept
from tapeline.backtest.report.wording import days, money, share, shown
from tapeline.backtest.run_folders import NoSuchRun, delete_run, folder_of, kept_runs

PAGE = page_of(analyse(crossover()))


def outside_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def drawn(page: str) -> list[dict[str, Any]]:
    data = re.search(r'id="charts">(.*?)</script>', page, flags=re.DOTALL)
    assert data is not None
    found: list[dict[str, Any]] = json.loads(data[1].replace("<\\/", "</"))
    return found


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = outside_scripts(PAGE)
    assert "http" not in text
    assert not re.search(r"<(link|img|iframe|object)\b|<script[^>]*\bsrc=|@import|url\(", text)
    assert not re.search(r"<script[^>]+src=", PAGE)
    assert PAGE.count("plotly.js v") == 1
    for entry in FIGURES.values():
        assert escape(entry.title) in text


def test_every_place_of_a_chart_has_its_chart() -> None:
    places = re.findall(r'<div class="chart" id="(\w+)"', PAGE)
    assert places == [chart["id"] for chart in drawn(PAGE)] == ["chart0", "chart1", "chart2"]


def test_assumptions_warnings_digest_and_command_are_told() -> None:
    run = crossover(minutes=60 * 24 * 10)
    text = outside_scripts(page_of(analyse(run)))
    for words in ("Limit orders fill at touch.", "(switched off)", "nothing here says anything"):
        assert words in text
    assert run.description.digest in text
    assert "does not say by which command" in text
    told = made(equity_rows([1.0]), command="tapeline backtest --bars x.parquet")
    assert "tapeline backtest --bars x.parquet" in page_of(analyse(told))


def test_what_has_no_value_shows_why() -> None:
    text = outside_scripts(page_of(analyse(made(equity_rows([1000.0, 1001.0])))))
    assert "none: no position was closed" in text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_names_cannot_become_markup() -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    rows = [fill(0, "BUY", 1, 10, instrument_id=evil, group_id=evil), fill(1, "SELL", 1, 9)]
    run = made(
        equity_rows([1000.0, 999.0]),
        [rows[0], {**rows[1], "instrument_id": evil, "group_id": evil}],
        bar_rows([10.0, 9.0], instrument=evil),
        title=evil,
        source=evil,
        command=evil,
        warnings=(evil,),
        parameters={evil: evil},
    )
    page = page_of(analyse(run))
    assert "<img" not in outside_scripts(page)
    assert page.count("</script>") == 3
    assert all("<img" not in json.dumps(chart["data"]) for chart in drawn(page))


def test_data_of_a_chart_cannot_end_its_script() -> None:
    chart = Chart(title="", data=[{"name": "</script><b>"}], layout={})
    page = document("", [], [chart])
    assert "</script><b>" not in page
    assert drawn(page)[0]["data"][0]["name"] == "</script><b>"


def test_long_series_are_thinned_and_say_so() -> None:
    rows = [
        {**row, "ts_event_ns": MONDAY_NS + at * DAY_NS // 40_000}
        for at, row in enumerate(equity_rows([1000.0 + at % 7 for at in range(40_000)]))
    ]
    (chart,) = charts_of(analyse(made(rows)))
    assert all(len(trace["x"]) <= POINTS_MAX + 2 for trace in chart.data)
    assert "40,000 points are drawn as about 2,000" in chart.notes[0]


@pytest.mark.parametrize(
    ("values", "amount", "share"),
    [
        ([950_000.0, 1_050_000.0], ",.0~f", ".0~%"),
        ([1e6, 1e6 - 3], ",.4~f", ".2~%"),
        ([1e6, 1e6 - 0.02], ",.6~f", ".4~%"),
        ([0.00001, 0.00002], ",.9~f", ".7~%"),
        ([5.0, None], ",.4~f", ".4~%"),
        ([], ",.4~f", ".4~%"),
    ],
)
def test_ticks_have_the_digits_that_the_range_needs(
    values: list[float | None], amount: str, share: str
) -> None:
    assert (amounts(values)["tickformat"], shares(values)["tickformat"]) == (amount, share)


def test_small_changes_of_a_large_worth_have_ticks_of_their_own() -> None:
    layout = charts_of(analyse(made(equity_rows([1e6, 999_900.0, 999_800.0]))))[0].layout
    assert layout["yaxis"]["tickformat"] == ",.2~f"
    assert layout["yaxis2"]["tickformat"] == ".6~%"


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    import numpy as np

    values = np.sin(np.arange(100_000) / 900.0)
    values[12_345], values[67_890] = 9.0, -9.0
    places = kept(values)
    assert {0, 12_345, 67_890, 99_999} <= set(places.tolist())
    assert len(places) <= POINTS_MAX + 2


def test_of_many_instruments_some_are_drawn_and_the_rest_is_told() -> None:
    fills = [fill(at, "BUY", 1, 10, instrument_id=f"I{at:02}.SIM") for at in range(12)]
    charts = charts_of(analyse(made(equity_rows([1000.0]), fills)))
    assert len(charts) == 1 + INSTRUMENTS_MAX
    assert charts[-1].notes[-1].startswith("4 more instruments")


def test_the_same_run_gives_the_same_page() -> None:
    assert page_of(analyse(crossover())) == PAGE


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (share(-0.0445), "-4.45 %"),
        (share(0.0), "0.00 %"),
        (share(0.00001234), "0.0012 %"),
        (money(1234.5), "1,234.50"),
        (money(0.00125), "0.0013"),
        (money(3e-11), "0.00"),
        (shown(Figure(-0.0001, Unit.NUMBER)), "-0.0001"),
        (shown(Figure(-1e-9, Unit.NUMBER)), "0.00"),
        (shown(Figure(None, Unit.NUMBER, "why")), "–"),
        (days(1.67), "1.7 days"),
        (days(0.25), "6.0 hours"),
        (days(0.01), "14.4 minutes"),
        (days(0.0001), "8.6 seconds"),
    ],
)
def test_figures_are_worded(text: str, wanted: str) -> None:
    assert text == wanted


def test_runs_are_found_by_folder_id_and_beginning(tmp_path: Path) -> None:
    for name in ("run-a1", "run-a2", "other"):
        made(equity_rows([1.0]), run_id=name).save(tmp_path / "backtests" / name)
    (tmp_path / "backtests" / "half").mkdir()
    assert {run.folder.name for run in kept_runs(tmp_path)} == {"run-a1", "run-a2", "other"}
    assert folder_of(tmp_path, "run-a1").name == "run-a1"
    assert folder_of(tmp_path, "oth").name == "other"
    assert folder_of(tmp_path, str(tmp_path / "backtests" / "other")).name == "other"
    assert folder_of(tmp_path, "").name == kept_runs(tmp_path)[-1].folder.name
    with pytest.raises(NoSuchRun, match="2 runs begin with run"):
        folder_of(tmp_path, "run")
    with pytest.raises(NoSuchRun, match="no finished run half"):
        folder_of(tmp_path, "half")


def test_only_runs_of_the_home_are_deleted(tmp_path: Path) -> None:
    made(equity_rows([1.0])).save(tmp_path / "backtests" / "mine")
    made(equity_rows([1.0])).save(tmp_path / "elsewhere")
    with pytest.raises(NoSuchRun, match="is not kept"):
        delete_run(tmp_path, str(tmp_path / "elsewhere"))
    delete_run(tmp_path, "mine")
    assert kept_runs(tmp_path) == []
    assert (tmp_path / "elsewhere").is_dir()
