"""When chains are anchored, and what the file keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_samples import RUN_ID, Writer, decisions

from tapeline.audit.anchors import FILE_NAME, AnchorFile, AnchorPolicy, anchor_of, load_anchors
from tapeline.audit.core import Tip
from tapeline.audit.errors import KeysUnfit
from tapeline.audit.keys import create_key, load_keys
from tapeline.audit.witness import Witness
from tapeline.runtime.exits import FileUnusable
from tapeline.runtime.keys import SigningError

POLICY = AnchorPolicy(rows=10, seconds=30.0)
FILLS, ANCHORS = ("fills", 0), ("anchors", 0)


def tip(index: int) -> Tip:
    """A chain of so many links."""
    return Tip(next_offset=index, index=index, head=bytes(32))


@pytest.mark.parametrize(
    ("links", "anchored", "since_last_s", "is_due"),
    [
        (9, 0, 29.9, False),
        (10, 0, 29.9, True),
        (19, 10, 29.9, False),
        (20, 10, 29.9, True),
        (11, 10, 30.0, True),
        (10, 10, 30.0, False),
        (5, 10, 30.0, False),
    ],
)
def test_a_chain_is_due_after_so_many_links_or_so_much_time(
    links: int, anchored: int, since_last_s: float, is_due: bool
) -> None:
    assert bool(POLICY.due({FILLS: tip(links)}, {FILLS: anchored}, since_last_s)) == is_due


def test_anchors_do_not_make_anchors_by_time() -> None:
    assert POLICY.due({ANCHORS: tip(5)}, {}, 1e9) == []
    assert POLICY.due({ANCHORS: tip(10)}, {}, 0.0) == [ANCHORS]


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_ns(self) -> int:
        """Nanoseconds."""
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        """Seconds."""
        return self.now_s


def test_each_link_is_anchored_once(tmp_path: Path) -> None:
    clock = HandClock()
    witness = Witness(tmp_path, RUN_ID, "2026-01", POLICY, clock)
    assert witness.due({FILLS: tip(5)}) == []
    clock.now_s = 31.0
    assert [anchor.row_count for anchor in witness.due({FILLS: tip(5)})] == [5]
    assert witness.due({FILLS: tip(6)}) == []
    assert [anchor.row_count for anchor in witness.everything({FILLS: tip(6)})] == [6]
    assert witness.everything({FILLS: tip(6)}) == []
    witness.close()
    again = Witness(tmp_path, RUN_ID, "2026-01", POLICY, clock)
    assert again.everything({FILLS: tip(6)}) == []
    assert again.latest[FILLS].row_count == 6
    again.close()


def test_an_anchor_comes_back_from_file_and_topic(tmp_path: Path, pure_writer: Writer) -> None:
    pure_writer.chain(decisions(3))
    [anchor] = pure_writer.anchors().anchors
    file = AnchorFile(tmp_path)
    file.append([anchor])
    file.close()
    assert load_anchors(tmp_path, RUN_ID).anchors == (anchor,)
    assert load_anchors(tmp_path, "run-7").anchors == ()
    assert anchor_of(RUN_ID, anchor.record()) == anchor


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnusable, match="anchors"):
        AnchorFile(tmp_path / "file" / "anchors")
    assert load_anchors(tmp_path, RUN_ID).anchors == ()
    assert not (tmp_path / FILE_NAME).exists()


def test_chains_go_on_under_the_active_key_and_old_ones_are_kept(tmp_path: Path) -> None:
    for key_id in ("a", "c", "b"):
        create_key(tmp_path, key_id)
    keys = load_keys(tmp_path)
    assert keys.current.key_id == "b"
    assert sorted(keys.known) == ["a", "b", "c"]
    assert len({key.secret for key in keys.known.values()}) == 3
    with pytest.raises(SigningError):
        create_key(tmp_path, "a")


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("00" * 32, 0o640, "may be used by others"),
        ("00" * 31, 0o600, "31 bytes"),
        ("no key", 0o600, "not hex"),
        ("", 0o600, "0 bytes"),
    ],
)
def test_keys_that_are_not_safe_are_refused(
    content: str, mode: int, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeysUnfit, match=problem):
        load_keys(tmp_path)


def test_without_keys_nothing_is_chained(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "none", tmp_path):
        with pytest.raises(KeysUnfit, match="folder of chain keys"):
            load_keys(folder)
    (tmp_path / "active").write_text("gone")
    (tmp_path / "a.key").write_text("00" * 32)
    (tmp_path / "a.key").chmod(0o600)
    with pytest.raises(KeysUnfit, match="gone"):
        load_keys(tmp_path)
