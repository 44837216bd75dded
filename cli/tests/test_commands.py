"""The command line: help, messages instead of tracebacks, filters and scopes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from run_samples import RUN
from typer.testing import CliRunner

from tapeline.cli.app import app, main
from tapeline.cli.commands.look import BadFilter, matches, parsed_filter
from tapeline.cli.order_asked import BadOrder, number
from tapeline.cli.records import Found, as_plain, short, utc
from tapeline.cli.runs import RunStore, RunUnknown
from tapeline.cli.tally import Tally
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.orders import OrderStatus, OrderUpdate
from tapeline.contracts.system import Incident
from tapeline.runtime.exits import Stopped
from tapeline.runtime.log import Raw
from tapeline.runtime.trips import BadScope, parsed_scope

COMMANDS = [
    "demo",
    "up",
    "down",
    "status",
    "topics",
    "tail",
    "trace",
    "halt",
    "resume",
    "positions",
    "orders",
    "pnl",
    "order",
    "cancel",
    "why",
    "runs",
    "feed",
    "keys",
    "live",
    "reconcile",
    "replay",
    "parity",
    "run",
    "lookahead",
    "audit",
    "data",
    "report",
    "backtests",
    "backtest",
    "sweep",
]


def ran(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAPELINE_HOME": str(home)}
    environment.pop("TAPELINE_DATA_DIR", None)
    return subprocess.run(
        [sys.executable, "-m", "tapeline.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("positions",), "There is no run at all"),
        (("trace", "x", "--run", "none"), "There is no run none"),
        (("tail", "nothing"), "There is no topic nothing"),
        (("halt", "--reason", "r", "--level", "softly"), "'softly' is no level"),
        (("resume", "--reason", " "), "The reason is empty"),
        (("live", "on", "--account", "A", "--reason", ""), "The reason is empty"),
        (("demo", "--config", "none.toml"), "There is no file none.toml"),
        (("feed", "moon"), "'moon' is no source"),
    ],
)
def test_a_mistake_is_one_message_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = ran(tmp_path, *arguments)
    assert result.returncode not in (0, 70)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 2
    assert not (tmp_path / "kafka").exists()


def test_status_says_that_nothing_runs(tmp_path: Path) -> None:
    result = ran(tmp_path, "status", "--json")
    assert result.returncode == 3
    assert result.stdout.strip() == '{\n  "running": false\n}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", (ScopeKind.ALL, "")),
        ("account:A", (ScopeKind.ACCOUNT, "A")),
        ("instrument:X.Y", (ScopeKind.INSTRUMENT, "X.Y")),
    ],
)
def test_scopes(text: str, expected: tuple[ScopeKind, str]) -> None:
    assert parsed_scope(text) == expected


@pytest.mark.parametrize("text", ["", "all:x", "account:", "planet:earth"])
def test_a_scope_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadScope):
        parsed_scope(text)


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "Infinity", "much"])
def test_a_quantity_must_be_a_positive_number(text: str) -> None:
    with pytest.raises(BadOrder):
        number(text, "quantity")


def incident(code: str) -> Found:
    record = Incident(
        service="s",
        severity="info",
        code=code,
        reason="r",
        topic="",
        partition=-1,
        offset=-1,
        ts_event_ns=1,
        ts_init_ns=1,
    )
    return Found(Raw("incidents", 0, 7, 0, b"k", b""), record)


def test_filters_name_fields_of_the_record_and_its_place() -> None:
    assert matches(incident("A"), [("code", "A"), ("offset", "7"), ("type", "Incident")])
    assert not matches(incident("A"), [("code", "B")])
    with pytest.raises(BadFilter):
        parsed_filter("code")


def updated(approval_id: str, status: OrderStatus) -> Found:
    """What execution says of the order of an approval."""
    one = Decimal(1)
    record = OrderUpdate(
        client_order_id=approval_id,
        venue_order_id="",
        account_id="A-1",
        group_id="g",
        instrument_id="A.X",
        approval_id=approval_id,
        decision_id=approval_id,
        status=status,
        previous_status=OrderStatus.APPROVED,
        is_terminal=status is OrderStatus.FILLED,
        code="",
        reason="",
        quantity=one,
        filled_quantity=one,
        ts_event_ns=1,
        ts_init_ns=1,
    )
    return Found(Raw("order-updates", 0, 0, 0, b"", b"", ()), record)


def test_a_tally_counts_what_it_sees() -> None:
    tally = Tally()
    for code in ("A", "B", "A"):
        tally.add(incident(code))
    assert tally.incidents == {"A": 2, "B": 1}
    assert tally.records["incidents"] == 3


def test_an_order_that_its_venue_holds_has_not_ended_and_is_no_fault() -> None:
    tally = Tally()
    tally.unended = {"sent": None, "held": None, "done": None}
    for name, status in (
        ("held", OrderStatus.ACCEPTED),
        ("done", OrderStatus.FILLED),
        ("sent", OrderStatus.SUBMITTED),
    ):
        tally.add(updated(name, status))
    assert tally.resting == 1
    assert tally.unended == {"held": OrderStatus.ACCEPTED, "sent": OrderStatus.SUBMITTED}
    assert tally.terminal == {"FILLED": 1}


def test_decimals_and_times_for_people_lose_nothing() -> None:
    assert short(Decimal("0.500000000000000000")) == "0.5"
    assert short(Decimal("100")) == "100"
    assert as_plain((Decimal("1.0"), b"\x01")) == ["1", "01"]
    assert utc(1_500_000_000_123_000_000) == "2017-07-14 02:40:00.123Z"


def test_runs_are_kept_found_by_name_and_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(RunUnknown, match="no run at all"):
        store.get("")
    for number_, name in enumerate(("a-1", "a-2")):
        store.save(replace(RUN, name=name, shards=(0, 1), started_ns=number_))
    assert store.get("last").name == "a-2"
    assert store.get("a-1").shards == (0, 1)
    assert store.new_name("a") == "a-3"
    store.tape_folder("a-1").mkdir(parents=True)
    store.tape_folder("a-2").mkdir()
    store.delete("a-1")
    assert not store.tape_folder("a-1").exists()
    assert store.tape_folder("a-2").is_dir()
    with pytest.raises(RunUnknown, match="The runs are: a-2"):
        store.get("a-1")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyboardInterrupt(), "Stopped.\n"),
        (Stopped("Stopped.", "The same command goes on."), "Stopped.\nThe same command goes on.\n"),
    ],
)
def test_ctrl_c_says_so_and_ends_with_130(
    raised: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise raised

    monkeypatch.setattr("tapeline.backtest.run_folders.kept_runs", interrupted)
    monkeypatch.setattr("sys.argv", ["tapeline", "backtests", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == said
