"""Logs: structured, correlated, limited, on a disk that may be full. Metrics: one registry each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tapeline.runtime.exits import FileUnusable
from tapeline.runtime.telemetry import (
    Metrics,
    RateLimit,
    bound_ids,
    close_logging,
    configure_logging,
    get_logger,
)


@dataclass(frozen=True)
class Settings:
    log_dir: Path | None
    log_level: str = "INFO"
    log_json: bool = True
    is_dev: bool = False


class HandClock:
    """Moved by hand."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    close_logging()
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def lines_of(folder: Path, name: str = "risk") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{name}.log").read_text().splitlines()]


def test_a_line_is_one_json_object_with_the_ids_in_force(tmp_path: Path) -> None:
    configure_logging(Settings(tmp_path), "risk")
    log = get_logger("a.b")
    with bound_ids(correlation_id="c1", causation_id="e1"):
        log.info("order_denied", code="STALE", limit=5)
    log.info("outside")
    first, second = lines_of(tmp_path)
    assert first["event"] == "order_denied"
    assert (first["correlation_id"], first["causation_id"]) == ("c1", "e1")
    assert (first["code"], first["limit"], first["service"]) == ("STALE", 5, "risk")
    assert "correlation_id" not in second


def test_a_traceback_in_the_log_holds_no_values_of_variables(tmp_path: Path) -> None:
    configure_logging(Settings(tmp_path), "risk")

    def fail(password: str) -> None:
        raise ValueError("no")

    try:
        fail("canary")
    except ValueError:
        get_logger("a").exception("failed")
    text = (tmp_path / "risk.log").read_text()
    assert "ValueError" in text
    assert "canary" not in text


def test_debug_lines_are_written_in_development_only(tmp_path: Path) -> None:
    configure_logging(Settings(tmp_path, is_dev=True), "dev")
    get_logger("a").debug("seen")
    configure_logging(Settings(tmp_path), "usual")
    get_logger("a").debug("not seen")
    assert "seen" in (tmp_path / "dev.log").read_text()
    assert (tmp_path / "usual.log").read_text() == ""


def test_a_reconnect_storm_is_a_handful_of_lines(tmp_path: Path) -> None:
    configure_logging(Settings(tmp_path), "risk")
    storm = logging.getLogger("aiokafka.conn")
    for port in range(20_000):
        storm.error("Unable connect to %s", port)
    logging.getLogger("tapeline.x").warning("ours")
    lines = lines_of(tmp_path)
    assert len(lines) < 20
    assert lines[-1]["event"] == "ours"


def test_what_was_dropped_is_counted_when_the_window_is_over() -> None:
    clock = HandClock()
    limit = RateLimit(lines_max=2, window_s=10, clock=clock)

    def line() -> logging.LogRecord:
        return logging.LogRecord("aiokafka", logging.ERROR, "", 0, "away", None, None)

    assert [limit.filter(line()) for _ in range(5)] == [True, True, False, False, False]
    clock.now_s = 11.0
    late = line()
    assert limit.filter(late)
    assert "3 more were dropped" in late.getMessage()


def test_a_folder_that_cannot_be_used_is_one_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnusable, match="TAPELINE_LOG_DIR"):
        configure_logging(Settings(tmp_path / "file" / "logs"), "risk")


def test_a_full_disk_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "risk.log").symlink_to("/dev/full")
    configure_logging(Settings(tmp_path), "risk")
    for _ in range(3):
        get_logger("a").info("event")
    told = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    assert len(told) == 1


def test_metrics_of_two_processes_do_not_mix_and_have_the_agreed_names() -> None:
    one, other = Metrics(), Metrics()
    one.consumed.labels("ticks").inc(3)
    one.step_seconds.labels("bars").observe(0.004)
    text = one.render().decode()
    assert 'tapeline_consumed_total{topic="ticks"} 3.0' in text
    assert 'tapeline_step_seconds_count{stage="bars"} 1.0' in text
    assert 'topic="ticks"' not in other.render().decode()
