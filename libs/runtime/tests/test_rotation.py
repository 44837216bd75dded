"""Keys rotate and are revoked under load: nothing valid is refused, and nothing revoked passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import sample

from tapeline.runtime.keys import KeyUnreadable, create_secret, revoke
from tapeline.runtime.signing import KeyRing, seal, seal_verdict

ROTATIONS = 6
CHECKS = 50
"""approvals that both sides look at, with each state of the keys"""
LIMIT_S = 120.0


def until(holds: Callable[[], bool], what: str) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit_s, what
        time.sleep(0.005)


def test_rotation_under_load_refuses_nothing_valid_and_everything_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    create_secret(folder, "key-0")
    # Two processes look at the folder at times of their own.
    risk, execution = KeyRing.from_folder(folder), KeyRing.from_folder(folder)
    revoked: set[str] = set()
    refused: set[str] = set()
    """revoked, and refused once by the side that verifies"""
    wrong: list[str] = []
    checked = 0
    stop = threading.Event()
    old: dict[str, Any] = {}

    def load() -> None:
        nonlocal checked
        while not stop.is_set():
            known = sorted(refused)
            sealed = seal(sample("tapeline.orders.ApprovedOrder"), risk)
            key_id = sealed.approval.key_id
            verdict = seal_verdict(sealed, execution)
            if verdict and key_id not in revoked:
                wrong.append(f"{key_id} {verdict}")
            old.setdefault(key_id, sealed)
            wrong.extend(name for name in known if seal_verdict(old[name], execution) == "")
            checked += 1

    def load_goes_on() -> None:
        enough = checked + CHECKS
        until(lambda: checked >= enough or bool(wrong), "the load stands still")

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, ROTATIONS + 1):
            before = f"key-{number - 1}"
            until(lambda name=before: name in old, f"nothing is signed with {before}")  # type: ignore[misc]
            load_goes_on()
            create_secret(folder, f"key-{number}")
            # What the old key has signed lives on until it is revoked.
            until(lambda name=f"key-{number}": name in old, "the new key is not taken up")  # type: ignore[misc]
            load_goes_on()
            began_s = time.monotonic()
            revoked.add(before)
            revoke(folder, before)
            until(
                lambda name=before: seal_verdict(old[name], execution) == "REVOKED_KEY",  # type: ignore[misc]
                f"{before} is taken for ever",
            )
            print(f"{before} is refused {time.monotonic() - began_s:.3f} s after it was revoked")
            refused.add(before)
            load_goes_on()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert refused == {f"key-{number}" for number in range(ROTATIONS)}


def test_a_key_that_the_other_side_has_just_taken_up_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    create_secret(folder, "old")
    execution = KeyRing.from_folder(folder)
    execution.keys()
    create_secret(folder, "new")
    assert (
        seal_verdict(
            seal(sample("tapeline.orders.ApprovedOrder"), KeyRing.from_folder(folder)), execution
        )
        == ""
    )


def test_the_key_that_signs_is_not_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    create_secret(folder, "only")
    with pytest.raises(KeyUnreadable):
        revoke(folder, "only")
    assert KeyRing.from_folder(folder).keys().active == "only"


def test_half_a_key_is_no_key(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    create_secret(folder, "k")
    (folder / "next.key.part").write_text("0011")
    assert sorted(KeyRing.from_folder(folder).keys().valid) == ["k"]
    assert not list(folder.glob("k.key.*"))
