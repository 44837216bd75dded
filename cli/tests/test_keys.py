"""Keys of external groups: closed to others, rotated, revoked, and what risk then makes of them."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from run_samples import RUN
from typer.testing import CliRunner, Result

from tapeline.cli.app import app
from tapeline.cli.commands.act import manual_decision
from tapeline.cli.runs import RunStore
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.runtime.exits import Failure
from tapeline.runtime.keys import KeyRing, create_secret
from tapeline.runtime.signing import seal, seal_verdict


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of keys of a run."""
    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path))
    store = RunStore(tmp_path)
    store.save(RUN)
    folder = store.folder(RUN.name) / "keys"
    create_secret(folder / "seal", "run")
    return folder


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def refused(*arguments: str) -> str:
    """The message of a command that is refused."""
    result = ran(*arguments)
    assert isinstance(result.exception, Failure), result.output
    return str(result.exception)


def decided() -> Decision:
    asked = manual_decision("r", "A", kind=DecisionKind.CANCEL, client_order_id="o")
    return replace(asked, group_id="eve", run_id="r")


def test_a_group_s_secret_is_closed_to_others_and_signs(keys: Path) -> None:
    result = ran("create", "k1", "--group", "eve")
    assert result.exit_code == 0, result.output
    path = keys / "groups" / "eve" / "k1.key"
    assert str(path) in result.output.replace("\n", "")
    assert path.read_text().strip() not in result.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    ring = KeyRing.from_folder(path.parent)
    assert seal_verdict(seal(decided(), ring), ring) == ""
    assert not (keys / "private").exists()


def test_a_group_s_keys_rotate_and_are_revoked(keys: Path) -> None:
    ran("create", "k1", "--group", "eve")
    folder = keys / "groups" / "eve"
    old = seal(decided(), KeyRing.from_folder(folder))
    assert ran("rotate", "k2", "--group", "eve").exit_code == 0
    new = seal(decided(), KeyRing.from_folder(folder))
    assert new.key_id == "k2"
    assert [seal_verdict(one, KeyRing.from_folder(folder)) for one in (old, new)] == ["", ""]
    assert "2 keys of eve are valid" in refused("rotate", "k3", "--group", "eve")
    assert "is the key that signs" in refused("revoke", "k2", "--group", "eve")
    assert "no key k4: nothing was revoked" in refused("revoke", "k4", "--group", "eve")
    assert ran("revoke", "k1", "--group", "eve").exit_code == 0
    ring = KeyRing.from_folder(folder)
    assert [seal_verdict(one, ring) for one in (old, new)] == ["REVOKED_KEY", ""]
    assert ran("list", "--group", "eve").output == "k2  signs\n"
    assert ran("list").output == "run  signs\n"


def test_a_second_first_key_is_refused(keys: Path) -> None:
    ran("create", "k1", "--group", "eve")
    assert "eve has the key k1" in refused("create", "k2", "--group", "eve")
    assert not (keys / "groups" / "eve" / "k2.key").exists()


@pytest.mark.parametrize("name", ["..", "../seal", "a/b", " ", "x" * 65])
def test_a_group_s_name_leads_nowhere_else(keys: Path, name: str) -> None:
    before = sorted(keys.rglob("*"))
    assert "folder of keys" in refused("create", "k1", "--group", name)
    assert sorted(keys.rglob("*")) == before


def test_orders_by_hand_have_no_secret_of_their_own(keys: Path) -> None:
    assert "operator's key" in refused("create", "k1", "--group", "MANUAL")
    assert not (keys / "groups").exists()


def test_without_a_group_it_is_an_operator_s(keys: Path) -> None:
    assert ran("create", "ada").exit_code == 0
    assert (keys / "operators" / "ada.pub").is_file()
