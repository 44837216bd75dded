"""A sweep over real prices: a trial is the backtest it stands for, and none is played twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cluster_rules import policy_problems, secret_problems
from pod_rules import pod_problems
from proving.playing import PRESET

from tapeline.backtest.data_check.findings import DataUnfit
from tapeline.backtest.paced.setup import Choice, MarketSlice
from tapeline.backtest.sweep.sweep import Sweep
from tapeline.backtest.sweep.trial import TapePlayer
from tapeline.backtest.tape.slice_tape import SliceTape, keep
from tapeline.cli import sweeps
from tapeline.cli.backtests import Asked, BadBacktest, played_preset, preset_source
from tapeline.cli.home import VARIABLE
from tapeline.cli.overrides import BadOverride
from tapeline.cli.sweep_jobs import manifests
from tapeline.cli.sweeps import Searched
from tapeline.contracts.market import AggressorSide, QualityFlag, Quote, TickOrigin, Trade

DATA = ("start=2014-01-01", "end=2014-03-20")
ASKED = Asked(feed_options=DATA, groups=("trend",))
AXES = ("sma_cross.fast=2,9", "venue.US.taker_fee_rate=0,0.001")
DAY_NS = 86_400_000_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    yield folder
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before


def swept(**more: Any) -> Sweep:
    """A sweep, played to its end."""
    searched = Searched(axes=AXES, objective="total_return", workers=2, **more)
    with sweeps.prepared(preset_source(str(PRESET), ASKED), ASKED, searched) as (found, _):
        sweeps.run(found, lambda _done, _total: None)
    return found


@pytest.fixture(scope="module")
def whole(home: Path) -> Sweep:
    del home
    return swept()


def test_in_sample_and_out_of_sample_stand_side_by_side(whole: Sweep) -> None:
    summary = whole.summary()
    (fold,) = summary["folds"]
    assert (summary["trials"], fold["trials"]) == (4, 4)
    assert fold["in_sample"]["end_ns"] == fold["out_of_sample"]["start_ns"]
    table = whole.table()
    assert table.filter(pl.col("part") == "out").height == 1
    inside = table.filter(pl.col("part") == "in").sort(
        "total_return", descending=True, nulls_last=True
    )
    assert fold["objective_in"] == inside["total_return"][0]
    assert fold["objective_out"] is not None


def test_a_point_that_makes_no_configuration_is_told_and_never_chosen(whole: Sweep) -> None:
    # fast = 9 is not below slow = 5
    table = whole.table()
    bad = table.filter(pl.col("sma_cross.fast") == "9")
    assert bad.height == 2
    assert bad["total_return"].null_count() == 2
    assert all("sma_cross" in why for why in bad["refused"])
    assert whole.summary()["folds"][0]["point"]["sma_cross.fast"] == "2"


def test_a_trial_is_the_backtest_that_it_stands_for(whole: Sweep) -> None:
    chosen = whole.chosen(whole.plan.folds[0])
    assert chosen is not None
    assert isinstance(whole.player, TapePlayer)
    end = time.strftime("%Y-%m-%d", time.gmtime(whole.plan.folds[0].inside.end_ns / 1e9))
    alone = played_preset(
        str(PRESET),
        Asked(
            feed_options=DATA,
            groups=("trend",),
            end=end,
            run_id=whole.player.setup.run_id,
            parameters=("sma_cross.fast=2",),
            settings=(f"venue.US.taker_fee_rate={chosen.point['venue.US.taker_fee_rate']}",),
        ),
        lambda _part: None,
    )
    assert alone.tables.description.digest == chosen.digest
    assert alone.tables.description.final_equity == chosen.final_equity


def test_what_is_noted_is_not_played_again(whole: Sweep) -> None:
    lines = {path: path.read_bytes() for path in _books(whole)}
    again = swept()
    assert {path: path.read_bytes() for path in _books(again)} == lines
    assert again.summary() == whole.summary()


def _books(sweep: Sweep) -> list[Path]:
    return sorted(sweep.book._path.parent.glob("*.jsonl"))


def test_parts_played_apart_come_to_the_same(
    whole: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for part in ("1/2", "2/2"):
        swept(part=part)
    joined = swept()
    without_time = pl.exclude("seconds")
    assert joined.table().select(without_time).equals(whole.table().select(without_time))


def test_ctrl_c_leaves_what_was_noted_and_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tapeline.cli", "sweep", "--preset", str(PRESET)]
    command += ["--groups", "trend", "--param", "sma_cross.fast=2..4", "--workers", "1"]
    command += ["--param", "venue.US.taker_fee_rate=0..0.01/0.0001"]
    for option in DATA:
        command += ["--feed-option", option]
    environment = {**os.environ, VARIABLE: str(tmp_path)}
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    books = tmp_path / "sweeps"
    while process.poll() is None and not list(books.glob("*/trials.jsonl")):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    (book,) = books.glob("*/trials.jsonl")
    assert all(json.loads(line) for line in book.read_text().splitlines())
    while living(process.pid):  # the tracker of the processes' resources ends last
        time.sleep(0.1)


def living(session: int) -> list[str]:
    """The processes of a session, those left out that only wait to be counted."""
    command = ["ps", "-o", "stat=,args=", "-s", str(session)]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if not line.startswith("Z")]


def test_names_that_are_not_there_are_found_before_anything_is_played(home: Path) -> None:
    del home
    searched = Searched(axes=("nobody.fast=1,2",))
    with (
        pytest.raises(BadOverride, match=r"nobody\.fast"),
        sweeps.prepared(preset_source(str(PRESET), ASKED), ASKED, searched),
    ):
        pass


class Bent:
    """Slices whose first trade behind the fortieth slice is dearer."""

    def __init__(self, slices: AsyncIterable[MarketSlice], factor: float) -> None:
        self._slices = slices
        self._factor = factor

    async def __aiter__(self) -> AsyncIterator[MarketSlice]:
        is_bent = False
        async for part in self._slices:
            found = {partition: list(ticks) for partition, ticks in part.ticks.items()}
            for ticks in found.values():
                if part.number > 40 and not is_bent and isinstance(ticks[0], Trade):
                    ticks[0] = replace(ticks[0], price=ticks[0].price * self._factor)
                    is_bent = True
            yield replace(part, ticks=found)


def bent_sweep(factor: float, asked: Asked = ASKED) -> Sweep:
    """Over data that somebody has touched, ready to run."""
    source = preset_source(str(PRESET), asked)
    facts = replace(source.facts, warnings=("said before",))
    source = replace(source, slices=Bent(source.slices, factor), facts=facts)
    with sweeps.prepared(source, asked, Searched(axes=AXES)) as (found, _):
        return found


def test_faulty_data_are_not_swept_over_unless_accepted(home: Path) -> None:
    del home
    with pytest.raises(DataUnfit, match=r"has faults[\s\S]*ABSURD_PRICE"):
        bent_sweep(100.0)
    warnings = bent_sweep(100.0, replace(ASKED, accept_data_faults=True)).warnings
    assert warnings[0] == "said before"
    assert any("ABSURD_PRICE" in line for line in warnings)


def test_data_that_changed_under_their_name_are_other_data(whole: Sweep) -> None:
    assert isinstance(whole.player, TapePlayer)
    same, other = bent_sweep(1.0), bent_sweep(1.001)
    assert isinstance(same.player, TapePlayer)
    assert isinstance(other.player, TapePlayer)
    assert same.player.folder == whole.player.folder != other.player.folder
    assert same.book._path != other.book._path


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "guess"},
        {"objective": "luck"},
        {"trials": 0},
        {"part": "3/2"},
        {"part": "x"},
        {"part": "1/2", "method": "bayes"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadBacktest):
        Searched(axes=AXES, **wrong).checked()


def tick(number: int) -> Trade | Quote:
    """A trade with flags or without, or a quote."""
    common: dict[str, Any] = {"instrument_id": "A.B", "feed": "f", "feed_sequence": number}
    times: dict[str, Any] = {"ts_event_ns": number, "ts_init_ns": DAY_NS}
    if number % 3:
        sizes: dict[str, Any] = {"bid_size": 0.0, "ask_size": 2.0}
        prices: dict[str, Any] = {"bid_price": 1.0 + number, "ask_price": 2.0 + number}
        origin: Any = TickOrigin.SYNTHETIC
        return Quote(**common, **times, **sizes, **prices, origin=origin, quality=())
    flags = (QualityFlag.SPIKE, QualityFlag.STALE) if number % 2 else ()
    return Trade(
        **common,
        **times,
        trade_id=f"ü{number}",
        price=1.5,
        size=0.25,
        side=AggressorSide.BUY,
        origin=TickOrigin.EXCHANGE,
        quality=flags,
    )


def test_slices_come_back_from_their_columns(tmp_path: Path) -> None:
    parts = [
        MarketSlice(
            number=number + 1,
            end_ns=(number + 1) * DAY_NS,
            is_final=number == 6,
            ticks={
                place: [tick(number * 100 + place * 10 + index) for index in range(number)]
                for place in range(2)
            }
            if number
            else {},
        )
        for number in range(7)
    ]

    async def all_of(found: Any) -> list[MarketSlice]:
        return [part async for part in found]

    async def given() -> Any:
        for part in parts:
            yield part

    asyncio.run(keep(given(), tmp_path, "kept"))
    tape = SliceTape(tmp_path / "kept", DAY_NS)
    found = asyncio.run(all_of(tape.played()))
    assert [(p.number, p.end_ns, p.is_final) for p in found] == [
        (p.number, p.end_ns, p.is_final) for p in parts
    ]
    for one, other in zip(found, parts, strict=True):
        assert {k: list(v) for k, v in one.ticks.items() if v} == {
            k: list(v) for k, v in other.ticks.items() if v
        }
    assert (tape.start_ns, tape.end_ns) == (0, 6 * DAY_NS)
    part = asyncio.run(all_of(tape.played(Choice(start_ns=2 * DAY_NS, end_ns=4 * DAY_NS))))
    assert [(p.number, p.end_ns, p.is_final) for p in part] == [
        (1, 3 * DAY_NS, False),
        (2, 4 * DAY_NS, False),
        (3, 5 * DAY_NS, True),
    ]


GIVEN: dict[str, Any] = {
    "run": "", "preset": "econometrics", "axes": ["sma_cross.fast=2,3"], "method": "grid",
    "trials": 5, "seed": 1, "objective": "sharpe", "folds": 2, "share": 0.3, "anchored": True,
    "start": "", "end": "", "instruments": "", "groups": "trend", "settings": [],
    "feed_options": ["start=2014-01-01"], "llm": "", "accept_data_faults": True,
}  # fmt: skip


def test_the_jobs_pass_the_check_of_the_manifests() -> None:
    items = json.loads(manifests(GIVEN, 3))["items"]
    jobs = [item for item in items if item["kind"] == "Job"]
    assert len(jobs) == 3
    assert pod_problems(items) == []
    deny = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
    assert [*policy_problems([deny, *items]), *secret_problems(items)] == []
    arguments = jobs[1]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[:5] == ["sweep", "--preset", "econometrics", "--param", "sma_cross.fast=2,3"]
    assert arguments[-4:] == ["--workers", "1", "--part", "2/3"]
    assert {"--anchored", "--accept-data-faults"} < set(arguments)


def test_the_check_of_the_manifests_would_see_a_job_that_may_do_more() -> None:
    items = json.loads(manifests(GIVEN, 1))["items"]
    pod = items[-1]["spec"]["template"]["spec"]
    pod["securityContext"]["runAsNonRoot"] = False
    assert pod_problems(items) == ["Job sweep-1-of-1: may run as root"]


def test_jobs_are_refused_for_a_search_that_needs_all_results_in_one_place() -> None:
    with pytest.raises(BadBacktest):
        manifests({**GIVEN, "method": "bayes"}, 2)
