from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tapeline.runtime import keys
from tapeline.runtime.keys import (
    KeyMissing,
    KeyRing,
    KeyUnreadable,
    KeyUnsafe,
    OperatorKeys,
    Signer,
    create_secret,
    create_signer,
    group_folder,
    revoke,
)

SECRET = bytes(range(32))


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_ns(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s


def write_key(folder: Path, name: str, content: str = SECRET.hex(), mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "content",
    [SECRET.hex(), SECRET.hex().upper() + "\n", base64.b64encode(SECRET).decode() + "\n"],
)
def test_a_secret_is_read_as_hex_or_base64(tmp_path: Path, content: str) -> None:
    write_key(tmp_path, "a.key", content)
    found = KeyRing.from_folder(tmp_path).keys()
    assert (found.active, found.valid["a"]) == ("a", SECRET)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_closed_file_is_taken(tmp_path: Path, mode: int) -> None:
    write_key(tmp_path, "a.key", mode=mode)
    assert KeyRing.from_folder(tmp_path).problem() == ""


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_any_right_of_others_is_refused_with_file_and_remedy(tmp_path: Path, bit: int) -> None:
    path = write_key(tmp_path, "a.key", mode=0o600 | bit)
    with pytest.raises(KeyUnsafe) as caught:
        KeyRing.from_folder(tmp_path).keys()
    assert str(path) in caught.value.cause
    assert caught.value.remedy == f"chmod 600 {path}"


def test_no_folder_and_an_empty_folder_are_a_missing_key(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        ring = KeyRing.from_folder(folder)
        with pytest.raises(KeyMissing, match=str(folder)):
            ring.keys()
        assert ring.problem() == "KEY_MISSING"


NOISY = base64.b64encode(SECRET).decode()[:20] + "*" + base64.b64encode(SECRET).decode()[20:]


@pytest.mark.parametrize("content", ["", "no key at all!", SECRET[:31].hex(), NOISY])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = write_key(tmp_path, "a.key", content)
    with pytest.raises(KeyUnreadable, match=r"a\.key"):
        KeyRing.from_folder(tmp_path).keys()
    with pytest.raises(KeyUnreadable):
        Signer.from_file(path)


def test_a_longer_secret_serves_for_codes_and_not_as_an_operator_s_key(tmp_path: Path) -> None:
    path = write_key(tmp_path, "a.key", (SECRET * 2).hex())
    assert len(KeyRing.from_folder(tmp_path).keys().valid["a"]) == 64
    with pytest.raises(KeyUnreadable, match="64 bytes"):
        Signer.from_file(path)


def test_a_file_that_is_far_too_long_for_a_key_is_refused(tmp_path: Path) -> None:
    digits = SECRET.hex() * (keys.FILE_BYTES_MAX // 64)
    path = write_key(tmp_path, "a.key", digits)
    assert len(KeyRing.from_folder(tmp_path).keys().valid["a"]) == keys.FILE_BYTES_MAX // 2
    path.write_text(digits + "\n")
    with pytest.raises(KeyUnreadable, match=r"a\.key is longer than 4096 bytes"):
        KeyRing.from_folder(tmp_path).keys()


def test_an_unreadable_name_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "a b.key")
    with pytest.raises(KeyUnreadable, match="no name for a key"):
        KeyRing.from_folder(tmp_path).keys()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable):
        KeyRing.from_folder(write_key(tmp_path, "file")).keys()


def test_a_key_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.key").mkdir()
    with pytest.raises(KeyUnreadable):
        KeyRing.from_folder(tmp_path).keys()


def test_the_newest_key_signs_unless_a_marker_says_otherwise(tmp_path: Path) -> None:
    old = write_key(tmp_path, "z-old.key")
    write_key(tmp_path, "a-new.key", (SECRET[::-1]).hex())
    os.utime(old, ns=(1, 1))
    assert KeyRing.from_folder(tmp_path).keys().active == "a-new"
    (tmp_path / "active").write_text("z-old\n")
    assert KeyRing.from_folder(tmp_path).keys().active == "z-old"


def test_a_marker_that_names_no_valid_key_signs_nothing(tmp_path: Path) -> None:
    write_key(tmp_path, "a.key")
    write_key(tmp_path, "b.key")
    for name, shown in (("c", "c"), ("", "nothing")):
        (tmp_path / "active").write_text(name)
        with pytest.raises(KeyMissing, match=f"names {shown}, which has no file"):
            KeyRing.from_folder(tmp_path).keys()
    (tmp_path / "active").write_text("b")
    (tmp_path / "revoked").write_text("b\n")
    with pytest.raises(KeyMissing, match="is revoked"):
        KeyRing.from_folder(tmp_path).keys()


def test_two_keys_may_be_valid_and_a_third_only_when_one_is_revoked(tmp_path: Path) -> None:
    for name in ("a.key", "b.key", "c.key"):
        write_key(tmp_path, name)
    with pytest.raises(KeyUnreadable, match="at most 2"):
        KeyRing.from_folder(tmp_path).keys()
    (tmp_path / "revoked").write_text("a\n")
    found = KeyRing.from_folder(tmp_path).keys()
    assert sorted(found.valid) == ["b", "c"]
    assert found.revoked == {"a"}


def test_a_revoked_key_is_not_even_read(tmp_path: Path) -> None:
    write_key(tmp_path, "a.key")
    write_key(tmp_path, "b.key", "broken", mode=0o666)
    (tmp_path / "revoked").write_text("b")
    assert KeyRing.from_folder(tmp_path).keys().active == "a"


def test_a_change_is_seen_within_a_quarter_of_a_second() -> None:
    assert keys.RELOAD_S == 0.25


def test_a_change_of_the_folder_is_taken_up_while_running(tmp_path: Path) -> None:
    clock = HandClock()
    write_key(tmp_path, "a.key")
    ring = KeyRing.from_folder(tmp_path, clock)
    assert sorted(ring.keys().valid) == ["a"]
    create_secret(tmp_path, "b")
    assert sorted(ring.keys().valid) == ["a"]
    clock.now_s += keys.RELOAD_S
    assert ring.keys().active == "b"


def test_keys_that_become_unsafe_or_vanish_are_no_longer_used(tmp_path: Path) -> None:
    clock = HandClock()
    path = write_key(tmp_path, "a.key")
    ring = KeyRing.from_folder(tmp_path, clock)
    assert ring.problem() == ""
    path.chmod(0o644)
    clock.now_s += keys.RELOAD_S
    assert ring.problem() == "KEY_UNSAFE"
    path.unlink()
    assert ring.problem() == "KEY_MISSING"
    tmp_path.rmdir()
    assert ring.problem() == "KEY_MISSING"
    write_key(tmp_path, "a.key")
    assert ring.problem() == ""


def test_a_created_secret_is_closed_random_and_active(tmp_path: Path) -> None:
    folder = tmp_path / "seal"
    first = create_secret(folder, "a")
    create_secret(folder, "b")
    assert first.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    found = KeyRing.from_folder(folder).keys()
    assert found.active == "b"
    assert found.valid["a"] != found.valid["b"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    before = create_secret(tmp_path, "a").read_text()
    with pytest.raises(KeyUnreadable, match="exists"):
        create_secret(tmp_path, "a")
    assert (tmp_path / "a.key").read_text() == before
    with pytest.raises(KeyUnreadable):
        create_secret(tmp_path, "../a")


def test_a_key_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    blocked = write_key(tmp_path, "file")
    with pytest.raises(KeyUnreadable, match="file"):
        create_secret(blocked, "a")


def test_an_operator_s_public_key_may_be_read_by_all_and_written_by_none(tmp_path: Path) -> None:
    public = tmp_path / "operators"
    create_signer(tmp_path / "private", public, "ada")
    (public / "ada.pub").chmod(0o644)
    assert OperatorKeys.from_folder(public).problem() == ""
    (public / "ada.pub").chmod(0o664)
    with pytest.raises(KeyUnsafe, match="0664"):
        OperatorKeys.from_folder(public).keys()


def test_a_public_key_of_another_length_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "ada.pub", (SECRET + b"x").hex(), mode=0o644)
    with pytest.raises(KeyUnreadable, match="33 bytes"):
        OperatorKeys.from_folder(tmp_path).keys()


def test_a_private_key_that_is_away_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing):
        Signer.from_file(tmp_path / "ada.key")


def test_the_key_that_signs_cannot_be_revoked_and_another_can(tmp_path: Path) -> None:
    create_secret(tmp_path / "new" / "folder", "a")
    folder = tmp_path / "new" / "folder"
    create_secret(folder, "b")
    with pytest.raises(KeyUnreadable, match="b is the key that signs"):
        revoke(folder, "b")
    revoke(folder, "a")
    found = KeyRing.from_folder(folder).keys()
    assert (found.active, sorted(found.valid), found.revoked) == ("b", ["b"], {"a"})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../seal", "a b", "a" * 65])
def test_a_group_whose_name_leads_elsewhere_has_no_folder_of_keys(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(KeyUnreadable, match="cannot be the name"):
        group_folder(tmp_path, name)


@pytest.mark.parametrize("name", ["swing", "Desk-2.paper_x", "a" * 64])
def test_the_secrets_of_a_group_have_a_folder_of_its_name(tmp_path: Path, name: str) -> None:
    assert group_folder(tmp_path, name) == tmp_path / "groups" / name
