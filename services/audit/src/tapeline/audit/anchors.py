"""Heads of the chains, kept outside the database: a file, and the topic `anchors`.

Whoever may write to the database, its superuser too, cannot take back an anchor: a chain that was
cut, rewritten or restored from an old backup no longer contains the anchored head.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from tapeline.audit.chain import Place
from tapeline.audit.core import Tip
from tapeline.contracts import topics
from tapeline.contracts.system import ChainAnchor
from tapeline.runtime.exits import FileUnusable

FILE_NAME: Final = "anchors.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The head of one chain at one time."""

    run_id: str
    topic: str
    partition: int
    next_offset: int
    """everything below is covered"""
    row_count: int
    """links of the chain"""
    head: str
    """hex"""
    key_id: str
    ts_init_ns: int
    """wall time, nanoseconds UTC"""

    @property
    def place(self) -> Place:
        """The chain's topic partition."""
        return self.topic, self.partition

    def record(self) -> ChainAnchor:
        """As the topic holds it."""
        return ChainAnchor(
            topic=self.topic,
            partition=self.partition,
            next_offset=self.next_offset,
            row_count=self.row_count,
            head=bytes.fromhex(self.head),
            key_id=self.key_id,
            ts_init_ns=self.ts_init_ns,
        )


def anchor_of(run_id: str, record: ChainAnchor) -> Anchor:
    """An anchor as read from the topic of a run."""
    return Anchor(
        run_id=run_id,
        topic=record.topic,
        partition=record.partition,
        next_offset=record.next_offset,
        row_count=record.row_count,
        head=record.head.hex(),
        key_id=record.key_id,
        ts_init_ns=record.ts_init_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorPolicy:
    """When a chain is anchored. Pure: the time comes in."""

    rows: int
    """links after which it is due"""
    seconds: float
    """time after which a chain that has grown is due"""

    def due(
        self,
        tips: Mapping[Place, Tip],
        anchored: Mapping[Place, int],
        since_last_s: float,
    ) -> list[Place]:
        """Chains to anchor, in order; `anchored` holds the index each was last anchored at.

        Anchors make rows on their own topic, so that topic waits for the end of the process:
        anchored by time it would keep itself growing.
        """
        is_time = since_last_s >= self.seconds
        grown = {place: tip.index - anchored.get(place, 0) for place, tip in tips.items()}
        return sorted(
            place
            for place, links in grown.items()
            if links >= self.rows or (is_time and links > 0 and place[0] != topics.ANCHORS)
        )


class AnchorFile:
    """Appends anchors to a file and syncs it; one line an anchor."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._end_torn_line()

    def append(self, anchors: Iterable[Anchor]) -> None:
        """Returns when the lines are on disk; raises FileUnusable."""
        lines = b"".join(msgspec.json.encode(anchor) + b"\n" for anchor in anchors)
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _end_torn_line(self) -> None:
        """A crash may have left half a line: the next one must not be joined to it."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What a file holds for one run."""

    anchors: tuple[Anchor, ...] = ()
    damaged_lines: tuple[int, ...] = field(default=())
    """numbers of lines that are not anchors, from 1; a torn line of a crash among them"""

    def latest(self) -> dict[Place, Anchor]:
        """The furthest anchor of each chain."""
        found: dict[Place, Anchor] = {}
        for anchor in self.anchors:
            known = found.get(anchor.place)
            if known is None or known.row_count <= anchor.row_count:
                found[anchor.place] = anchor
        return found


def load_anchors(folder: Path, run_id: str) -> Anchors:
    """Anchors of a run from the file in a folder; none where there is no file."""
    path = folder / FILE_NAME
    try:
        lines: Sequence[bytes] = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Anchors()
    except OSError as error:
        raise _unusable(path, error) from error
    anchors: list[Anchor] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        try:
            anchor = msgspec.json.decode(line, type=Anchor)
        except msgspec.MsgspecError:
            damaged.append(number)
            continue
        if anchor.run_id == run_id:
            anchors.append(anchor)
    return Anchors(anchors=tuple(anchors), damaged_lines=tuple(damaged))


def _unusable(path: Path, error: OSError) -> FileUnusable:
    return FileUnusable(
        f"The anchor file {path} cannot be used: {error.strerror}.",
        "Point TAPELINE_AUDIT_ANCHORS_DIR to a folder this user may write to, with free space.",
    )
