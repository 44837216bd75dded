"""Probes over real HTTP."""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tapeline.runtime.exits import FileUnusable, PortBusy
from tapeline.runtime.health import Health, HealthServer
from tapeline.runtime.telemetry import Metrics


@dataclass(frozen=True)
class Settings:
    health_host: str = "127.0.0.1"
    health_port: int = 0
    health_port_file: Path | None = None


class HandClock:
    """Moved by hand."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return 0


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_alive_follows_the_beat_and_not_the_server() -> None:
    clock = HandClock()
    health = Health(watchdog_s=10, clock=clock)
    with HealthServer(health, Metrics(), Settings()) as server:
        clock.now_s = 9.9
        assert get(server.port, "/livez")[0] == 200
        clock.now_s = 10.0
        assert get(server.port, "/livez")[0] == 503
        health.beat()
        assert get(server.port, "/livez?verbose=1")[0] == 200


def test_ready_means_every_part_is_and_says_which_is_not() -> None:
    health = Health(watchdog_s=10)
    with HealthServer(health, Metrics(), Settings()) as server:
        assert get(server.port, "/readyz") == (503, "process: starting\n")
        health.set_ready(True)
        health.set_ready(False, "NOT_READY", "bars")
        assert get(server.port, "/readyz") == (503, "bars: NOT_READY\n")
        health.set_ready(True, part="bars")
        assert get(server.port, "/readyz") == (200, "ok\n")


def test_metrics_are_served_and_other_paths_are_not() -> None:
    metrics = Metrics()
    metrics.produced.labels("bars").inc()
    with HealthServer(Health(10), metrics, Settings()) as server:
        assert 'tapeline_produced_total{topic="bars"} 1.0' in get(server.port, "/metrics")[1]
        assert get(server.port, "/")[0] == 404


def test_the_port_in_use_is_in_the_file_while_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "port"
    with HealthServer(Health(10), Metrics(), Settings(health_port_file=path)) as server:
        assert int(path.read_text()) == server.port
    assert not path.exists()


def test_a_busy_port_is_one_clear_failure() -> None:
    with HealthServer(Health(10), Metrics(), Settings()) as server:
        taken = HealthServer(Health(10), Metrics(), Settings(health_port=server.port))
        with pytest.raises(PortBusy, match="TAPELINE_HEALTH_PORT"):
            taken.start()


def test_a_port_file_that_cannot_be_written_leaves_no_server_behind(tmp_path: Path) -> None:
    threads = threading.active_count()
    settings = Settings(health_port_file=tmp_path / "no" / "such" / "folder")
    with pytest.raises(FileUnusable, match="TAPELINE_HEALTH_PORT_FILE"):
        HealthServer(Health(10), Metrics(), settings).start()
    assert threading.active_count() == threads
