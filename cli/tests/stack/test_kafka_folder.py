"""A data folder that a newer Kafka has formatted is refused in words, before a broker starts."""

import struct
from pathlib import Path

import pytest

from tapeline.cli.stack import kafka_folder
from tapeline.cli.stack.errors import FolderUnfit
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.kafka_folder import METADATA_LEVEL_MAX, kafka_version, require_readable


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_folder, "kafka_version", lambda: "4.2.1")


def checkpoint(folder: Path, level: int) -> None:
    """As StorageTool writes it, around the number."""
    path = folder / kafka_folder.CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00\x0c\x00\x11metadata.version" + struct.pack(">h", level) + b"\x00\x00Z")


@pytest.mark.parametrize("version", ["4.3.0", "4.10.0", "5.0.1"])
def test_a_newer_kafka_is_named_with_what_to_do(tmp_path: Path, version: str) -> None:
    (tmp_path / "kafka.version").write_text(version)
    with pytest.raises(FolderUnfit, match=f"formatted by Kafka {version}; Kafka 4.2.1") as raised:
        EmbeddedKafka(tmp_path).start()
    assert str(tmp_path) in raised.value.cause
    assert "set TAPELINE_HOME" in raised.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["kafka.version"]


@pytest.mark.parametrize("version", ["4.2.1", "4.2.2", "4.1.9", "3.9.1"])
def test_the_same_release_or_an_older_one_is_read(tmp_path: Path, version: str) -> None:
    checkpoint(tmp_path, METADATA_LEVEL_MAX + 1)
    (tmp_path / "kafka.version").write_text(version)
    require_readable(tmp_path)


@pytest.mark.parametrize("kept", ["", "unknown"])
def test_without_a_version_the_format_says_it(tmp_path: Path, kept: str) -> None:
    checkpoint(tmp_path, METADATA_LEVEL_MAX + 1)
    if kept:
        (tmp_path / "kafka.version").write_text(kept)
    with pytest.raises(FolderUnfit, match=r"formatted by a newer Kafka; Kafka 4\.2\.1"):
        require_readable(tmp_path)


def test_a_format_we_know_is_read(tmp_path: Path) -> None:
    require_readable(tmp_path)
    checkpoint(tmp_path, METADATA_LEVEL_MAX)
    require_readable(tmp_path)


def test_a_checkpoint_cut_short_says_nothing(tmp_path: Path) -> None:
    checkpoint(tmp_path, METADATA_LEVEL_MAX + 1)
    path = tmp_path / kafka_folder.CHECKPOINT
    path.write_bytes(path.read_bytes()[:21])
    require_readable(tmp_path)


@pytest.mark.kafka
def test_what_our_broker_formats_is_noted_with_its_version(tmp_path: Path, jars_dir: Path) -> None:
    with EmbeddedKafka(tmp_path, jars_dir=jars_dir):
        assert (tmp_path / "kafka.version").read_text() == "4.2.1"
    assert kafka_folder.metadata_level(tmp_path) == METADATA_LEVEL_MAX
    assert kafka_version() == "4.2.1", "tell METADATA_LEVEL_MAX of the new one too"
