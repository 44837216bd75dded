"""Records of a run's topics as Parquet files, one a range of offsets, never changed once written.

    <home>/tape/<run>/<topic>-<partition>/<from>-<to>-<digest>.parquet

`tape_file` tells what is in a file, and checks it whenever it is read. A file comes to be under
another name and is moved, so it is whole or not there; whoever pulls a partition holds its lock, so
that two processes do not pull the same twice. What a process that was killed left behind is taken
away by the next. The tape of a run that has ended is closed: where each partition ends is written
down, and a file or a folder that is gone later is missed. Which run it is of is written down as
well, and which topic each partition is of: a name may come again when it has been deleted.

Errors:
    TapeHole        records were deleted before they were pulled, or a file is missing
    TapeDamaged     a file does not hold what it held when it was written
    TapeForeign     the folder holds the tape of another run, or of a topic that is gone
    TapeUnwritable  there is no room for more
"""

from __future__ import annotations

import fcntl
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import polars as pl

from tapeline.backtest.tape.bulk_frame import BulkFrames
from tapeline.backtest.tape.tape_file import (
    PART,
    Part,
    TapeDamaged,
    part_of,
    put,
    read_frame,
    read_raws,
    read_values,
    write,
)
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.log import Raw, RawColumns, TopicPartition

CHUNK: Final = 50_000
"""offsets in a file, at most"""
LOCK: Final = "lock"
ENDS: Final = "ends.json"
"""of a closed tape: topic-partition -> offset behind its last record"""
OWNER: Final = "run.json"
"""of a tape: what tells its run from all others"""
TOPIC: Final = "topic"
"""in the folder of a partition: what the cluster calls its topic"""
OnPulled = Callable[[int, int], None]
"""Hears (offsets that are on the tape, offsets in all)."""


class TapeHole(Failure):
    """Records are missing for good."""

    exit_code = USAGE


class TapeForeign(Failure):
    """The tape is not that of the run."""

    exit_code = USAGE


class Log(Protocol):
    """Where records come from, such as LogReader."""

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic."""
        ...

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        """What the cluster calls each topic: one that was deleted and made again has another."""
        ...

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are still kept."""
        ...

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets behind the last record."""
        ...

    def stream(self, place: TopicPartition, start: int, behind: int) -> Generator[RawColumns]:
        """Committed records with start <= offset < behind, in order."""
        ...


class Tape:
    """The tape of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pull(
        self,
        log: Log,
        names: Sequence[str],
        on_pulled: OnPulled = lambda _done, _all: None,
    ) -> None:
        """Takes what is not there yet of all partitions of the topics; raises TapeHole,
        TapeForeign, TapeUnwritable."""
        ids = log.topic_ids(names)
        places = [(name, number) for name in names for number in range(log.partition_count(name))]
        starts, ends = log.starts(places), log.ends(places)
        total, done = sum(ends.values()), 0
        for place in places:
            with self._locked(place) as folder:
                _belongs(place, folder, ids[place[0]])
                start = self._resumed(place, folder, (starts[place], ends[place]))
                done += start
                with closing(_pulled(log, place, folder, (start, ends[place]))) as edges:
                    for behind in edges:
                        done += behind - start
                        start = behind
                        on_pulled(done, total)
        after = log.topic_ids(names)
        for name in names:
            if after[name] != ids[name]:
                raise _another(name, self.folder)

    def belong_to(self, run: Mapping[str, str | int]) -> None:
        """Writes down whose tape it is, or raises TapeForeign where it is another's or nobody's."""
        try:
            owner = msgspec.json.decode((self.folder / OWNER).read_bytes())
        except FileNotFoundError:
            owner = None if self._folders() else run
            if owner is run:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._note(OWNER, run)
        except msgspec.DecodeError:
            owner = None
        if owner != run:
            whose = "does not say of which run it is" if owner is None else "is of another run"
            raise TapeForeign(
                f"The tape in {self.folder} {whose}.",
                "Delete the folder to pull the tape of this run from its topics.",
            )

    def close(self) -> None:
        """Nothing more will be pulled: writes down where each partition ends."""
        self._note(ENDS, {part.name: self.end(_place_of(part)) for part in self._folders()})

    def is_closed(self) -> bool:
        """Whether it is; raises TapeHole where a closed tape has not everything it had."""
        try:
            ends = msgspec.json.decode((self.folder / ENDS).read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return False
        except msgspec.DecodeError as error:
            raise self._not_whole(f"{ENDS} cannot be read ({error})") from error
        for name, end in ends.items():
            found = self.end(_place_of(self.folder / name))
            if found != end or not (self.folder / name).is_dir():
                raise self._not_whole(f"{name} ends at offset {found} instead of {end}")
        return True

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic that were pulled."""
        return sum(_place_of(folder)[0] == topic for folder in self._folders())

    def end(self, place: TopicPartition) -> int:
        """Behind the last offset on the tape; 0 where there is none."""
        parts = self._parts(place)
        return parts[-1].end if parts else 0

    def chunks(self, place: TopicPartition) -> Iterator[list[Raw]]:
        """The records of a partition, file by file; raises TapeHole, TapeDamaged."""
        for part in self._parts(place):
            yield read_raws(place, part)

    def values(
        self, place: TopicPartition, behind: int
    ) -> Iterator[tuple[int, list[int], list[bytes | None]]]:
        """(offset behind the file, offsets of its records, their values), file by file up to an
        offset; raises TapeHole where the tape ends before it, TapeDamaged."""
        if self.end(place) < behind:
            raise TapeHole(
                f"The tape of {place[0]}-{place[1]} ends at offset {self.end(place)}; 0 to "
                f"{behind} are asked for.",
                "Pull it again while the topic still has them.",
            )
        for part in self._parts(place):
            if part.start < behind:
                content, values = read_values(place, part)
                yield part.end, content.frame["offset"].to_list(), values

    def frames(self, place: TopicPartition) -> Iterator[pl.DataFrame]:
        """A partition of a bulk topic as columns (see `bulk_frame`), file by file, without an
        object for a record; raises TapeHole, TapeDamaged."""
        for frame, _ in self.columns(place):
            yield frame

    def records(self, place: TopicPartition) -> Iterator[list[Any]]:
        """The records of a partition of a bulk topic, file by file, and a DecodeError in the place
        of each that is none; raises TapeHole, TapeDamaged."""
        for frame, made in self.columns(place):
            yield made.records(frame)

    def columns(self, place: TopicPartition) -> Iterator[tuple[pl.DataFrame, BulkFrames]]:
        """The same as `frames`, each with what makes records of its rows."""
        for part in self._parts(place):
            yield read_frame(place, part)

    def _resumed(self, place: TopicPartition, folder: Path, bounds: tuple[int, int]) -> int:
        """Where pulling goes on; `bounds` are those of the log."""
        for path in folder.glob(f"*{PART}"):
            path.unlink()  # of a process that was killed; we hold the lock
        position, (log_start, log_end) = self.end(place), bounds
        if log_end < position:
            raise TapeForeign(
                f"{place[0]}-{place[1]} ends at offset {log_end}, and the tape has it up to "
                f"{position}: the topic has lost records, or is another one of this name.",
                f"Delete {self.folder} to pull it again, if these are the topics of the run.",
            )
        if log_start > position:
            raise TapeHole(
                f"{place[0]}-{place[1]}: offsets {position} to {log_start - 1} were deleted from "
                "the topic before they were on the tape.",
                "Records are missing for good and nothing is skipped in silence: keep the topics "
                "of a run longer, or choose a run that is still whole.",
            )
        return position

    def _parts(self, place: TopicPartition) -> list[Part]:
        """The files of a partition in order; raises TapeHole where one is missing."""
        folder = self._folder_of(place)
        parts = sorted(map(part_of, folder.glob("*.parquet")))
        begins = [0, *(part.end for part in parts)]
        for end, part in zip(begins, parts, strict=False):
            if part.start < end:
                raise TapeDamaged(
                    f"The tape of {place[0]}-{place[1]} has offsets {part.start} to "
                    f"{min(part.end, end) - 1} twice.",
                    f"Delete {folder} to pull it again from the topic.",
                )
            if part.start > end:
                raise TapeHole(
                    f"The tape of {place[0]}-{place[1]} lacks offsets {end} to {part.start - 1}.",
                    f"A file of {folder} is gone: delete the folder to pull it again.",
                )
        return parts

    @contextmanager
    def _locked(self, place: TopicPartition) -> Iterator[Path]:
        """The folder of a partition, for nobody else meanwhile; the system frees the lock of a
        process that ends, however it ends."""
        folder = self._folder_of(place)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder

    def _folder_of(self, place: TopicPartition) -> Path:
        return self.folder / f"{place[0]}-{place[1]}"

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("*-[0-9]*/"))

    def _note(self, name: str, content: Mapping[str, str | int]) -> None:
        put(self.folder / name, msgspec.json.encode(content))

    def _not_whole(self, what: str) -> TapeHole:
        return TapeHole(
            f"The tape in {self.folder} is not what it was: {what}.",
            "Delete the folder to pull it again from the topics.",
        )


def _belongs(place: TopicPartition, folder: Path, topic_id: str) -> None:
    """Writes down of which topic a partition is, or raises TapeForeign where it is another's."""
    noted = folder / TOPIC
    try:
        if noted.read_text() != topic_id:
            raise _another(place[0], folder.parent)
    except FileNotFoundError:  # of a build that did not note it
        put(noted, topic_id.encode())


def _another(topic: str, folder: Path) -> TapeForeign:
    return TapeForeign(
        f"The topic {topic} was deleted and made again: the tape in {folder} has records of both, "
        "or of the one that is gone.",
        "Delete the folder to pull it again, if these are the topics of the run.",
    )


def _place_of(folder: Path) -> TopicPartition:
    topic, _, number = folder.name.rpartition("-")
    return topic, int(number)


def _pulled(
    log: Log, place: TopicPartition, folder: Path, bounds: tuple[int, int]
) -> Generator[int]:
    """Writes a partition's records file by file, each while those of the next are on their way;
    gives the offset behind each that is on the disk."""
    writing: Future[int] | None = None

    def written(edges: tuple[int, int], found: RawColumns) -> int:
        write(folder, place[0], edges, found)
        return edges[1]

    with ThreadPoolExecutor(1) as writer, closing(log.stream(place, *bounds)) as batches:
        for edges, found in _by_file(batches, *bounds):
            if writing is not None:
                yield writing.result()
            writing = writer.submit(written, edges, found)
        if writing is not None:
            yield writing.result()


def _by_file(
    batches: Iterable[RawColumns], start: int, behind: int
) -> Iterator[tuple[tuple[int, int], RawColumns]]:
    """((from, to), records) of each file."""
    waiting = RawColumns()
    for batch in batches:
        waiting.extend(batch)
        while waiting.offsets and waiting.offsets[-1] >= start + CHUNK:
            edge = start + CHUNK
            yield (start, edge), waiting.cut(bisect_left(waiting.offsets, edge))
            start = edge
    while start < behind:
        edge = min(start + CHUNK, behind)
        yield (start, edge), waiting.cut(bisect_left(waiting.offsets, edge))
        start = edge
