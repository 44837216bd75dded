"""The page in a real browser, without a network: every chart is drawn, on a desk and on a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_runs import crossover

from tapeline.backtest.report.analysis import analyse
from tapeline.backtest.report.comparison import compare, comparison_page
from tapeline.backtest.report.page import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--proxy-server=127.0.0.1:9",
]


def dom(page: str, folder: Path, window: str) -> str:
    """The document as it stands once its scripts have run."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the page was not drawn")
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [
        CHROMIUM,
        *OPTIONS,
        profile,
        f"--window-size={window}",
        "--dump-dom",
        f"file://{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)


@pytest.mark.parametrize("window", ["1400,2400", "400,800"])
def test_every_chart_of_a_report_is_drawn(tmp_path: Path, window: str) -> None:
    found = dom(page_of(analyse(crossover())), tmp_path, window)
    assert len(re.findall(r'class="[^"]*js-plotly-plot', found)) == 3
    for name in ("worth", "drawdown", "gross exposure", "buy", "sell"):
        assert f">{name}<" in found


def test_every_chart_of_a_comparison_is_drawn(tmp_path: Path) -> None:
    analyses = [analyse(crossover(seed, 60 * 24 * 30)) for seed in (3, 5)]
    comparison = compare(["one", "other"], analyses)
    found = dom(comparison_page(comparison), tmp_path, "1400,2400")
    assert len(re.findall(r'class="[^"]*js-plotly-plot', found)) == 2
    for label in comparison.labels:
        legends = re.findall(rf'<text class="legendtext"[^>]*>{re.escape(label)}<', found)
        assert len(legends) == 2, label
