"""Records of a run's topics as Parquet files, one a range of offsets, never changed once written.

    <home>/tape/<run>/<topic>-<partition>/<from>-<to>.parquet

The columns are those of a record: offset, append_ms, key, value, headers. The metadata of a file
hold its range, its number of records and the digest over their values; both are checked whenever
it is read. A file comes to be under another name and is moved, so it is whole or not there; whoever
pulls a partition holds its lock, so that two processes do not pull the same twice. What a process
that was killed left behind is taken away by the next. The tape of a run that has ended is closed:
where each partition ends is written down, and a file or a folder that is gone later is missed.
Which run it is of is written down as well: a name may come again when a run has been deleted.

Errors:
    TapeHole        records were deleted before they were pulled, or a file is missing
    TapeDamaged     a file does not hold what it held when it was written
    TapeForeign     the folder holds the tape of another run
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Final, Protocol

import msgspec
import polars as pl

from tapeline.runtime.columns import fill_slots
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.log import Raw, TopicPartition, values_digest

CHUNK: Final = 50_000
"""offsets in a file, at most"""
SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "offset": pl.Int64(),
    "append_ms": pl.Int64(),
    "key": pl.Binary(),
    "value": pl.Binary(),
    "headers": pl.Binary(),
}
DIGEST, COUNT, LOCK, PART = "tapeline.digest", "tapeline.count", "lock", ".part"
ENDS: Final = "ends.json"
"""of a closed tape: topic-partition -> offset behind its last record"""
OWNER: Final = "run.json"
"""of a tape: what tells its run from all others"""
OnPulled = Callable[[int, int], None]
"""Hears (offsets that are on the tape, offsets in all)."""
_ENCODE = msgspec.msgpack.Encoder().encode
_HEADERS = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


class TapeHole(Failure):
    """Records are missing for good."""

    exit_code = USAGE


class TapeDamaged(Failure):
    """A file of the tape is not what was written."""

    exit_code = USAGE


class TapeForeign(Failure):
    """The tape is not that of the run."""

    exit_code = USAGE


class Log(Protocol):
    """Where records come from, such as LogReader."""

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic."""
        ...

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are still kept."""
        ...

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets behind the last record."""
        ...

    def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        """Committed records with from <= offset < to."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file and the offsets it stands for."""

    start: int
    end: int
    path: Path


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
        """Takes what is not there yet of all partitions of the topics; raises TapeHole."""
        places = [(name, number) for name in names for number in range(log.partition_count(name))]
        starts, ends = log.starts(places), log.ends(places)
        total, done = sum(ends.values()), 0
        for place in places:
            with self._locked(place) as folder:
                position = self._resumed(place, folder, starts[place])
                done += position
                while position < ends[place]:
                    behind = min(position + CHUNK, ends[place])
                    _write(folder, position, behind, log.read({place: (position, behind)})[place])
                    done += behind - position
                    position = behind
                    on_pulled(done, total)

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
            yield _read(place, part)

    def read(self, topic: str, partition: int, start: int, behind: int) -> list[Raw]:
        """The records with start <= offset < behind; raises TapeHole where the tape ends before."""
        place = (topic, partition)
        if self.end(place) < behind:
            raise TapeHole(
                f"The tape of {topic}-{partition} ends at offset {self.end(place)}; {start} to "
                f"{behind} are asked for.",
                "Pull it again while the topic still has them.",
            )
        return [
            raw
            for part in self._parts(place)
            if part.start < behind and part.end > start
            for raw in _read(place, part)
            if start <= raw.offset < behind
        ]

    def _resumed(self, place: TopicPartition, folder: Path, log_start: int) -> int:
        """Where pulling goes on."""
        for path in folder.glob(f"*{PART}"):
            path.unlink()  # of a process that was killed; we hold the lock
        position = self.end(place)
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
        parts = sorted(map(_part_of, folder.glob("*-*.parquet")))
        begins = [0, *(part.end for part in parts)]
        for end, part in zip(begins, parts, strict=False):
            if part.start != end:
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
        part = self.folder / f"{name}.{os.getpid()}{PART}"
        part.write_bytes(msgspec.json.encode(content))
        os.replace(part, self.folder / name)

    def _not_whole(self, what: str) -> TapeHole:
        return TapeHole(
            f"The tape in {self.folder} is not what it was: {what}.",
            "Delete the folder to pull it again from the topics.",
        )


def _place_of(folder: Path) -> TopicPartition:
    topic, _, number = folder.name.rpartition("-")
    return topic, int(number)


def _part_of(path: Path) -> Part:
    start, _, end = path.stem.partition("-")
    return Part(int(start), int(end), path)


def _write(folder: Path, start: int, end: int, raws: Sequence[Raw]) -> None:
    headers = [_ENCODE(raw.headers) if raw.headers else None for raw in raws]
    columns = {
        "offset": [raw.offset for raw in raws],
        "append_ms": [raw.append_ms for raw in raws],
        "key": [raw.key for raw in raws],
        "value": [raw.value for raw in raws],
        "headers": headers,
    }
    metadata = {DIGEST: values_digest(raws).hex(), COUNT: str(len(raws))}
    path = folder / f"{start:020d}-{end:020d}.parquet"
    part = path.with_suffix(PART)
    table = pl.DataFrame(columns, schema=dict(SCHEMA))
    table.write_parquet(part, compression="zstd", metadata=metadata)
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    os.replace(part, path)


def _read(place: TopicPartition, part: Part) -> list[Raw]:
    """The records of a file, after checking that they are those that were written."""
    try:
        metadata = pl.read_parquet_metadata(part.path)
        table = pl.read_parquet(part.path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(place, part, str(error).splitlines()[0]) from error
    headers = table["headers"].to_list()
    columns = {
        "topic": repeat(place[0]),
        "partition": repeat(place[1]),
        "offset": table["offset"].to_list(),
        "append_ms": table["append_ms"].to_list(),
        "key": table["key"].to_list(),
        "value": table["value"].to_list(),
        "headers": [_HEADERS.decode(item) if item else () for item in headers],
    }
    raws: list[Raw] = fill_slots(Raw, columns, table.height)
    if metadata.get(COUNT) != str(len(raws)):
        raise _damaged(place, part, f"{len(raws)} records instead of {metadata.get(COUNT)}")
    if metadata.get(DIGEST) != values_digest(raws).hex():
        raise _damaged(place, part, "its digest is another")
    if not all(before.offset < after.offset for before, after in pairwise(raws)):
        raise _damaged(place, part, "its offsets do not ascend")
    return raws


def _damaged(place: TopicPartition, part: Part, what: str) -> TapeDamaged:
    return TapeDamaged(
        f"The tape of {place[0]}-{place[1]}, offsets {part.start} to {part.end - 1}, is damaged: "
        f"{what}.",
        f"Delete {part.path.parent} to pull it again from the topic.",
    )
