"""What is ordered by hand bears the operator's signature; a run without a key gets one."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tapeline.cli.commands.act import manual_decision
from tapeline.cli.operators import operator_key, signed_by_hand
from tapeline.contracts.agents import DecisionKind
from tapeline.runtime.keys import OPERATOR_FOLDER, KeyUnsafe, OperatorKeys, create_signer
from tapeline.runtime.signing import author_verdict


def test_the_first_order_makes_the_key_and_later_ones_use_it(tmp_path: Path) -> None:
    ring = OperatorKeys.from_folder(tmp_path / OPERATOR_FOLDER)
    for _ in range(2):
        signer = operator_key(tmp_path)
        assert signer is not None
        asked = manual_decision("run-1", "A", kind=DecisionKind.CANCEL, client_order_id="o")
        signed = signed_by_hand(asked, "run-1", signer)
        assert author_verdict(signed, ring) == ""
        assert replace(signed, run_id="", key_id="", mac=b"") == asked
    path = tmp_path / "private" / "operator.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in (tmp_path / OPERATOR_FOLDER).iterdir()] == ["operator.pub"]


def test_nobody_becomes_an_operator_of_a_run_that_has_one(tmp_path: Path) -> None:
    create_signer(tmp_path / "elsewhere", tmp_path / OPERATOR_FOLDER, "ada")
    assert operator_key(tmp_path) is None
    assert not (tmp_path / "private").exists()


def test_a_key_that_others_can_read_signs_nothing(tmp_path: Path) -> None:
    operator_key(tmp_path)
    (tmp_path / "private" / "operator.key").chmod(0o644)
    with pytest.raises(KeyUnsafe):
        operator_key(tmp_path)
