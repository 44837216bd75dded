"""Kafka's jars: pinned, verified, and a clear message when they are not to be had."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tapeline.cli.stack import jars
from tapeline.cli.stack.errors import JarsUnavailable
from tapeline.cli.stack.jars import Jar, ensure_jars, locked_jars
from tapeline.cli.stack.server import quiet

JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(b"content").hexdigest())
PATH_IN_REPOSITORY = "org/example/thing/1.0/thing-1.0.jar"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own Maven repository, and no network: every remote is a closed port."""
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\ncentral = http://127.0.0.1:1\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(jars, "locked_jars", lambda: (JAR,))
    monkeypatch.setattr(jars, "RETRY_SECONDS", 0.0)
    return tmp_path / "m2"


def put(folder: Path, content: bytes) -> None:
    path = folder / PATH_IN_REPOSITORY
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_every_locked_jar_has_a_digest_and_the_clients_match_the_broker() -> None:
    locked = locked_jars()
    assert all(len(jar.sha256) == 64 for jar in locked)
    assert len({jar.file_name for jar in locked}) == len(locked)
    versions = {jar.version for jar in locked if jar.group == "org.apache.kafka"}
    assert len(versions) == 1


def test_without_cache_and_repository_the_message_names_cause_and_remedy(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(JarsUnavailable, match="cannot be downloaded") as raised:
        ensure_jars(tmp_path / "cache", quiet)
    assert "127.0.0.1" in raised.value.cause
    assert "KAFKA_BOOTSTRAP_SERVERS" in raised.value.remedy
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_jar_of_the_users_own_repository_is_taken_without_network(
    repository: Path, tmp_path: Path
) -> None:
    put(repository, b"content")
    (path,) = ensure_jars(tmp_path / "cache", quiet)
    assert path.read_bytes() == b"content"
    assert list((tmp_path / "cache").iterdir()) == [path]
    shutil.rmtree(repository)
    assert ensure_jars(tmp_path / "cache", quiet) == (path,)


def test_a_damaged_jar_is_never_used(repository: Path, tmp_path: Path) -> None:
    put(repository, b"damaged")
    with pytest.raises(JarsUnavailable):
        ensure_jars(tmp_path / "cache", quiet)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_jar_damaged_in_the_cache_is_fetched_again(repository: Path, tmp_path: Path) -> None:
    put(repository, b"content")
    (path,) = ensure_jars(tmp_path / "cache", quiet)
    path.write_bytes(b"")
    ensure_jars(tmp_path / "cache", quiet)
    assert path.read_bytes() == b"content"


def test_a_repository_named_by_the_user_comes_before_the_public_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\nours = http://127.0.0.1:2/maven\n")
    context = jars.maven_context(tmp_path)
    assert list(context.remote_repos) == ["ours", "central"]
