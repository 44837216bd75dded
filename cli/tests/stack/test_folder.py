"""The data folder is looked at before anything is written."""

import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapeline.cli.stack import folder
from tapeline.cli.stack.errors import FolderUnfit
from tapeline.cli.stack.stack import LocalStack

Usage = namedtuple("Usage", "total used free")


def test_the_folder_is_the_one_of_the_environment_else_in_the_project(tmp_path: Path) -> None:
    assert folder.stack_root(tmp_path, {}) == tmp_path / ".tapeline"
    assert folder.stack_root(tmp_path, {"TAPELINE_HOME": ""}) == tmp_path / ".tapeline"
    assert folder.stack_root(tmp_path, {"TAPELINE_HOME": "/x/y"}) == Path("/x/y")


@pytest.mark.parametrize(("missing", "is_fit"), [(0, True), (1, False)])
def test_a_folder_to_be_made_needs_room_on_the_disk_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int, is_fit: bool
) -> None:
    usage = Usage(0, 0, folder.FREE_BYTES_MIN - missing)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if is_fit:
        folder.require_fit(tmp_path / "a" / "b")
    else:
        with pytest.raises(FolderUnfit, match="MB are free") as raised:
            folder.require_fit(tmp_path / "a" / "b")
        assert str(tmp_path / "a" / "b") in raised.value.cause
        assert "TAPELINE_HOME" in raised.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FolderUnfit, match="is a file"):
        folder.require_fit(tmp_path / "a" / "b")


def test_a_folder_without_the_right_to_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FolderUnfit, match="not writable"):
        folder.require_fit(tmp_path)


@pytest.fixture(params=["size=64m", "size=600m,ro"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_nothing_is_written_to_a_disk_that_is_full_or_read_only(mounted: Path) -> None:
    with pytest.raises(FolderUnfit, match=r"are free|not writable"):
        LocalStack(mounted / "stack", environment={}).start()
    assert list(mounted.iterdir()) == []
