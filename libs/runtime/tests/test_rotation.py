"""Keys rotate and are revoked under load: nothing valid is refused, and nothing revoked passes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from samples import sample

from tapeline.runtime.keys import KeyUnreadable, create_secret, revoke
from tapeline.runtime.signing import KeyRing, seal, seal_verdict

ROTATIONS = 6
PAUSE_S = 0.3
SETTLED_S = 1.0


def test_rotation_under_load_refuses_nothing_valid_and_everything_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    create_secret(folder, "key-0")
    # Two processes look at the folder at times of their own.
    risk, execution = KeyRing.from_folder(folder), KeyRing.from_folder(folder)
    revoked_s: dict[str, float] = {}
    wrong: list[str] = []
    late: list[float] = []
    checked = 0
    stop = threading.Event()
    old: dict[str, Any] = {}

    def load() -> None:
        nonlocal checked
        while not stop.is_set():
            sealed = seal(sample("tapeline.orders.ApprovedOrder"), risk)
            key_id = sealed.approval.key_id
            verdict = seal_verdict(sealed, execution)
            checked += 1
            if verdict and key_id not in revoked_s:
                wrong.append(f"{key_id} {verdict}")
            old.setdefault(key_id, sealed)
            for name, at_s in list(revoked_s.items()):
                if name in old and seal_verdict(old[name], execution) == "":
                    late.append(time.monotonic() - at_s)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, ROTATIONS + 1):
        time.sleep(PAUSE_S)
        create_secret(folder, f"key-{number}")
        # What the old key has signed lives on until it is revoked.
        time.sleep(2 * PAUSE_S)
        revoked_s[f"key-{number - 1}"] = time.monotonic()
        revoke(folder, f"key-{number - 1}")
    time.sleep(SETTLED_S)
    stop.set()
    for thread in threads:
        thread.join()
    print(
        f"{checked} approvals, {ROTATIONS} rotations, {len(wrong)} wrongly refused, "
        f"last revoked one taken {max(late, default=0.0):.3f} s after"
    )
    assert checked > 1_000
    assert wrong == []
    assert max(late, default=0.0) <= SETTLED_S
    for number in range(ROTATIONS):
        assert seal_verdict(old[f"key-{number}"], execution) == "REVOKED_KEY"


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
