"""Takes the anchors: to the file at once, and hands them on for the topic."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from tapeline.audit.anchors import Anchor, AnchorFile, AnchorPolicy, load_anchors
from tapeline.audit.chain import Place
from tapeline.audit.core import Tip
from tapeline.runtime.clock import SYSTEM, Clock


class Witness:
    """Anchors of one run."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        key_id: str,
        policy: AnchorPolicy,
        clock: Clock = SYSTEM,
    ) -> None:
        self._run_id = run_id
        self._key_id = key_id
        self._policy = policy
        self._clock = clock
        self.latest: Mapping[Place, Anchor] = load_anchors(folder, run_id).latest()
        self._anchored = {place: anchor.row_count for place, anchor in self.latest.items()}
        self._last_s = clock.monotonic_s()
        self._file = AnchorFile(folder)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def due(self, tips: Mapping[Place, Tip]) -> list[Anchor]:
        """Anchors that are due, on disk already, to be sent to the topic."""
        now_s = self._clock.monotonic_s()
        since_last_s = now_s - self._last_s
        if since_last_s >= self._policy.seconds:
            self._last_s = now_s
        return self._take(self._policy.due(tips, self._anchored, since_last_s), tips)

    def everything(self, tips: Mapping[Place, Tip]) -> list[Anchor]:
        """An anchor for every chain that has grown since its last one."""
        grown = [
            place for place, tip in sorted(tips.items()) if tip.index > self._anchored.get(place, 0)
        ]
        return self._take(grown, tips)

    def _take(self, places: Collection[Place], tips: Mapping[Place, Tip]) -> list[Anchor]:
        if not places:
            return []
        now_ns = self._clock.wall_ns()
        anchors = [
            Anchor(
                run_id=self._run_id,
                topic=place[0],
                partition=place[1],
                next_offset=tips[place].next_offset,
                row_count=tips[place].index,
                head=tips[place].head.hex(),
                key_id=self._key_id,
                ts_init_ns=now_ns,
            )
            for place in places
        ]
        self._file.append(anchors)
        self._anchored.update((anchor.place, anchor.row_count) for anchor in anchors)
        return anchors
