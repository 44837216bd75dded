"""What a person can get wrong, through the real processes: one message that names cause and remedy,
no traceback, an exit code that is not zero, and nothing half-written.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from proving.playing import PRESET, Ground

from tapeline.runtime import clock, exits
from tapeline.runtime.keys import OPERATOR_FOLDER, SEAL_FOLDER, create_secret, create_signer
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics, delete_topics, partition_counts

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
LIMIT_S = 180
NOWHERE = "127.0.0.1:1"
MESSAGE_LINES_MAX = 4
CSV_MAPPING = """
path = "trades.csv"
kind = "trades"
instrument_id = "A.X"
price_column = "price"
time_column = "when"
time_format = "%Y-%m-%d"
"""
CSV_PRESET = """
[run]
feed = "recorded"
intervals = ["1d"]
slice = "1d"
"""


@dataclass(frozen=True)
class Answer:
    """How a process ended and what it said."""

    code: int
    errors: str
    output: str

    def assert_tells(self, code: int, *parts: str) -> None:
        """One short message with these parts."""
        assert self.code == code, self.errors
        everything = self.errors + self.output
        assert "Traceback" not in everything
        for part in parts:
            assert part in self.errors, self.errors
        lines = self.errors.strip().splitlines()
        assert len(lines) <= MESSAGE_LINES_MAX, self.errors
        assert len(set(lines)) == len(lines), "it says a thing twice"


def told(*arguments: str, **variables: str) -> Answer:
    """What `python -m` says to that."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TAPELINE_")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**clean, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Answer(done.returncode, done.stderr, done.stdout)


@pytest.fixture
def servers(ground: Ground) -> dict[str, str]:
    """Variables that lead to the servers of the session."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
        "TAPELINE_TOPIC_PREFIX": f"bad-{ground.token}.",
    }


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with all the keys of the money path."""
    folder = tmp_path / "keys"
    create_secret(folder / SEAL_FOLDER, "run")
    create_signer(folder / "private", folder / OPERATOR_FOLDER, "operator")
    return folder


@pytest.fixture
def made_topics(servers: Mapping[str, str]) -> Iterator[KafkaSettings]:
    """The topics that the variables name."""
    settings = settings_of(servers)
    create_topics(settings, Topology(instrument=1, account=1, service=2))
    yield settings
    delete_topics(settings)


@pytest.fixture
def full_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk without room."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def settings_of(servers: Mapping[str, str]) -> KafkaSettings:
    """How a client reaches Kafka."""
    return KafkaSettings(
        kafka_bootstrap_servers=servers["KAFKA_BOOTSTRAP_SERVERS"],
        topic_prefix=servers["TAPELINE_TOPIC_PREFIX"],
    )


def written(folder: Path) -> list[str]:
    """Files under a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- a malformed CSV


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("when,price,size\n2014-01-02,10.5,1\n2014-01-03,oops,1\n", ("row 2", "price", "'oops'")),
        ("when,cost,size\n2014-01-02,10.5,1\n", ("no column 'price'", "when, cost, size")),
        ("when,price,size\n2014-01-02,10.5\n", ("trades.csv",)),
        ("when,price,size\n2014-13-45,10.5,1\n", ("row 1", "'2014-13-45'")),
        ("", ("trades.csv",)),
        ("\x00\xff\x00 not a table", ("trades.csv",)),
    ],
)
def test_a_malformed_csv_is_refused_before_anything_is_published(
    servers: dict[str, str], tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / "trades.csv").write_text(text, encoding="latin-1")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(CSV_MAPPING)
    option = f"mapping={mapping}"
    answer = told(
        "tapeline.market_data", "feed", "--feed", "recorded", "--option", option, **servers
    )
    answer.assert_tells(exits.USAGE, "trades.csv", *parts)
    assert partition_counts(settings_of(servers)) == {}


def test_a_malformed_csv_ends_the_whole_run_with_the_feeds_own_message(
    ground: Ground, servers: dict[str, str], tmp_path: Path
) -> None:
    del servers["TAPELINE_TOPIC_PREFIX"]
    (tmp_path / "trades.csv").write_text("when,price,size\n2014-01-03,oops,1\n")
    (tmp_path / "mapping.toml").write_text(CSV_MAPPING)
    preset = tmp_path / f"csv-{ground.token}.toml"
    preset.write_text(CSV_PRESET)
    home = tmp_path / "home"
    answer = told(
        "tapeline.cli",
        "demo",
        "--config",
        str(preset),
        **servers,
        TAPELINE_HOME=str(home),
        TAPELINE_MARKET_DATA_FEED_OPTIONS=json.dumps({"mapping": str(tmp_path / "mapping.toml")}),
    )
    assert answer.code != 0
    assert "Traceback" not in answer.errors + answer.output
    assert "row 1, column 'price': 'oops' is not a value" in answer.errors
    (run,) = (home / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["result"] == "failed"


# ---- an unknown setting


@pytest.mark.parametrize("service", ["risk", "execution", "audit"])
def test_an_unknown_setting_is_named_with_the_nearest_known_one(
    servers: dict[str, str], service: str
) -> None:
    answer = told(f"tapeline.{service}", **servers, TAPELINE_IS_PASED="true")
    answer.assert_tells(exits.USAGE, "TAPELINE_IS_PASED", "TAPELINE_IS_PACED")


@pytest.mark.parametrize(("role", "option"), [("bars", ()), ("feed", ("--feed", "synthetic"))])
def test_an_unknown_setting_of_market_data_is_named(
    servers: dict[str, str], role: str, option: tuple[str, ...]
) -> None:
    answer = told(
        "tapeline.market_data", role, *option, **servers, TAPELINE_MARKET_DATA_INTERVAL="1m"
    )
    answer.assert_tells(
        exits.USAGE, "TAPELINE_MARKET_DATA_INTERVAL ", "TAPELINE_MARKET_DATA_INTERVALS"
    )


def test_an_unknown_setting_of_a_configuration_is_named_and_leaves_nothing(
    servers: dict[str, str], tmp_path: Path
) -> None:
    del servers["TAPELINE_TOPIC_PREFIX"]
    preset = tmp_path / "mine.toml"
    preset.write_text(PRESET.read_text().replace("adapter =", "adaptor ="))
    home = tmp_path / "home"
    arguments = ("tapeline.cli", "demo", "--config", str(preset))
    answer = told(*arguments, **servers, TAPELINE_HOME=str(home))
    answer.assert_tells(exits.USAGE, "unknown setting adaptor", "adapter")
    assert str(preset) in answer.errors
    assert written(home) == []


# ---- a missing key file


@pytest.mark.parametrize("service", ["risk", "execution"])
@pytest.mark.parametrize("missing", [SEAL_FOLDER, OPERATOR_FOLDER])
def test_without_its_keys_a_service_of_the_money_path_does_not_start(
    servers: dict[str, str], keys: Path, service: str, missing: str
) -> None:
    for path in (keys / missing).iterdir():
        path.unlink()
    answer = told(
        f"tapeline.{service}", **servers, TAPELINE_SHARDS="0", TAPELINE_KEYS_DIR=str(keys)
    )
    answer.assert_tells(exits.USAGE, str(keys / missing), "tapeline keys create")
    assert partition_counts(settings_of(servers)) == {}


def test_a_key_that_others_may_read_is_refused(servers: dict[str, str], keys: Path) -> None:
    (keys / SEAL_FOLDER / "run.key").chmod(0o644)
    answer = told("tapeline.risk", **servers, TAPELINE_SHARDS="0", TAPELINE_KEYS_DIR=str(keys))
    answer.assert_tells(exits.USAGE, "run.key", "600")


# ---- a busy port


def test_a_busy_port_is_named(
    servers: dict[str, str], made_topics: KafkaSettings, keys: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        variables = {**servers, "TAPELINE_HEALTH_PORT": port}
        for module, arguments in (
            ("tapeline.market_data", ("bars",)),
            ("tapeline.agents", ("triggers",)),
            ("tapeline.risk", ()),
        ):
            answer = told(
                module,
                *arguments,
                **variables,
                TAPELINE_SHARDS="0",
                TAPELINE_KEYS_DIR=str(keys),
            )
            answer.assert_tells(exits.USAGE, port, "TAPELINE_HEALTH_PORT")


# ---- a full disk


def test_a_full_disk_is_named_before_a_run_begins(
    servers: dict[str, str], full_folder: Path
) -> None:
    del servers["TAPELINE_TOPIC_PREFIX"]
    home = full_folder / "home"
    answer = told("tapeline.cli", "demo", **servers, TAPELINE_HOME=str(home))
    assert answer.code != 0
    answer.assert_tells(answer.code, str(home), "Free some space")
    assert written(full_folder) == ["filler"]


def test_a_service_whose_log_is_on_a_full_disk_says_so_once_and_goes_on(
    servers: dict[str, str], made_topics: KafkaSettings, full_folder: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "port"
    variables = {"TAPELINE_LOG_DIR": str(full_folder), "TAPELINE_HEALTH_PORT_FILE": str(ready)}
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tapeline.market_data", "bars"],
            env={**os.environ, **servers, **variables},
            stderr=errors,
        )
        try:
            until(ready.exists)
            process.terminate()
            code = process.wait(LIMIT_S)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        answer = Answer(code, errors.read(), "")
    answer.assert_tells(exits.OK, "No space left on device", "TAPELINE_LOG_DIR")


def until(is_so: Callable[[], bool]) -> None:
    """Waits for something, within the bound."""
    deadline_s = clock.monotonic_s() + LIMIT_S
    while not is_so():
        assert clock.monotonic_s() < deadline_s
        time.sleep(0.05)


# ---- a broker that is away


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("tapeline.market_data", ("bars",)),
        ("tapeline.market_data", ("feed", "--feed", "synthetic")),
        ("tapeline.agents", ("triggers",)),
        ("tapeline.risk", ()),
        ("tapeline.execution", ()),
    ],
)
def test_a_service_waits_for_a_broker_and_then_says_that_there_is_none(
    servers: dict[str, str], keys: Path, module: str, arguments: tuple[str, ...]
) -> None:
    variables = {**servers, "KAFKA_BOOTSTRAP_SERVERS": NOWHERE, "TAPELINE_KAFKA_WAIT_S": "1"}
    answer = told(module, *arguments, **variables, TAPELINE_SHARDS="0", TAPELINE_KEYS_DIR=str(keys))
    answer.assert_tells(exits.UNAVAILABLE, NOWHERE, "tapeline up", "KAFKA_BOOTSTRAP_SERVERS")


def test_the_demo_says_that_the_broker_it_was_given_is_away_and_leaves_nothing(
    servers: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    variables = {
        "DATABASE_URL": servers["DATABASE_URL"],
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "TAPELINE_HOME": str(home),
    }
    answer = told("tapeline.cli", "demo", **variables)
    assert answer.code != 0
    answer.assert_tells(answer.code, NOWHERE, "KAFKA_BOOTSTRAP_SERVERS")
    assert written(home) == []
