"""One file of the tape: a range of offsets of one partition, never changed once written.

    <from>-<to>-<digest>.parquet

`digest` is that of the whole file, in its name, so whatever changes in it is found before anything
is read from it. The metadata hold the format, the number of records, the digest over their values
as the topic has them, and for columns the schemas that they were written by. Records of a bulk
topic are columns (`bulk_frame`); all others have `offset, append_ms, key, headers, value`. Files of
the first format have no digest in their name; they hold the bytes of every record and are read as
such.

Errors:
    TapeDamaged     a file does not hold what it held when it was written
    TapeUnwritable  there is no room for it, or it may not be written
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from tapeline.backtest.tape.bulk_frame import PLACE, VALUE, BulkFrames, frames_by, frames_of
from tapeline.runtime.columns import fill_slots
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.log import Raw, RawColumns, TopicPartition, digest_of

DIGEST, COUNT, SCHEMAS = "tapeline.digest", "tapeline.count", "tapeline.schemas"
FORMAT, COLUMNS = "tapeline.format", "2"
PART: Final = ".part"
BYTES: Final[Mapping[str, Any]] = {**PLACE, VALUE: pl.Binary()}
DIGEST_BYTES: Final = 16
_NAME: Final = re.compile(r"(\d{20})-(\d{20})(?:-([0-9a-f]{32}))?")
_ENCODE = msgspec.msgpack.Encoder().encode
_HEADERS = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


class TapeDamaged(Failure):
    """A file of the tape is not what was written."""

    exit_code = USAGE


class TapeUnwritable(Failure):
    """A file of the tape cannot be written."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file and the offsets it stands for."""

    start: int
    end: int
    path: Path
    digest: str
    """of the file; empty in the first format"""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, checked."""

    frame: pl.DataFrame
    frames: BulkFrames | None
    """of columns"""
    digest: str
    """over the values, as the topic had them"""


def part_of(path: Path) -> Part:
    """By the name of the file; raises TapeDamaged."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        raise TapeDamaged(f"{path} is no file of the tape.", "Move it away, or back its name.")
    return Part(int(found[1]), int(found[2]), path, found[3] or "")


def write(folder: Path, topic: str, bounds: tuple[int, int], found: RawColumns) -> None:
    """The records of a range; the file is whole or not there. Raises TapeUnwritable."""
    frames = frames_of(topic)
    metadata = {
        FORMAT: COLUMNS,
        DIGEST: digest_of(found.values).hex(),
        COUNT: str(len(found.values)),
    }
    if frames is not None:
        metadata[SCHEMAS] = json.dumps(frames.sources)
    frame = _bytes_frame(found) if frames is None else frames.framed(found)
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", metadata=metadata)
    content = buffer.getbuffer()
    put(folder / f"{bounds[0]:020d}-{bounds[1]:020d}-{_digest(content)}.parquet", content)


def put(path: Path, content: bytes | memoryview) -> None:
    """Writes a file under another name and moves it; raises TapeUnwritable."""
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        with part.open("wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        os.replace(part, path)
    except OSError as error:
        raise TapeUnwritable(
            f"{path} cannot be written: {error.strerror}.",
            "What was pulled is kept: make room for the rest, and start again.",
        ) from error


def _bytes_frame(found: RawColumns) -> pl.DataFrame:
    columns = {
        "offset": found.offsets,
        "append_ms": found.append_ms,
        "key": found.keys,
        "headers": [_ENCODE(item) if item else None for item in found.headers],
        VALUE: found.values,
    }
    return pl.DataFrame(columns, schema=dict(BYTES))


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES].hex()


def read(place: TopicPartition, part: Part) -> Content:
    """What a file holds, after checking that it is what was written; raises TapeDamaged."""
    try:
        content = part.path.read_bytes()
        if part.digest and _digest(content) != part.digest:
            raise damaged(place, part, "its digest is another")
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        frame = pl.read_parquet(io.BytesIO(content))
        _check_format(part, metadata.get(FORMAT))
        sources = metadata.get(SCHEMAS)
        frames = None if sources is None else frames_by(place[0], sources)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise damaged(place, part, str(error).splitlines()[0]) from error
    if metadata.get(COUNT) != str(frame.height):
        raise damaged(place, part, f"{frame.height} records instead of {metadata.get(COUNT)}")
    offsets = frame["offset"].to_numpy()
    if not (np.diff(offsets) > 0).all():
        raise damaged(place, part, "its offsets do not ascend")
    if frame.height and not part.start <= offsets[0] <= offsets[-1] < part.end:
        raise damaged(place, part, f"it holds offsets {offsets[0]} to {offsets[-1]}")
    return Content(frame, frames, str(metadata.get(DIGEST)))


def _check_format(part: Part, found: str | None) -> None:
    expected = COLUMNS if part.digest else None
    if found != expected:
        raise ValueError(f"its format is {found or 1} where {expected or 1} is expected")


def read_values(place: TopicPartition, part: Part) -> tuple[Content, list[bytes | None]]:
    """(a file, the value of each of its records, byte by byte that of the topic); raises
    TapeDamaged."""
    content = read(place, part)
    frame = content.frame
    values = frame[VALUE].to_list() if content.frames is None else content.frames.values(frame)
    if digest_of(values).hex() != content.digest:
        raise damaged(place, part, "the digest of its records is another")
    return content, values


def read_raws(place: TopicPartition, part: Part) -> list[Raw]:
    """The records of a file, byte by byte those of the topic; raises TapeDamaged."""
    content, values = read_values(place, part)
    frame = content.frame
    columns = {
        "topic": repeat(place[0]),
        "partition": repeat(place[1]),
        "offset": frame["offset"].to_list(),
        "append_ms": frame["append_ms"].to_list(),
        "key": frame["key"].to_list(),
        "value": values,
        "headers": _headers(frame),
    }
    return fill_slots(Raw, columns, frame.height)


def read_frame(place: TopicPartition, part: Part) -> tuple[pl.DataFrame, BulkFrames]:
    """(a file of a bulk topic as columns, what makes records of them); raises TapeDamaged."""
    content = read(place, part)
    if content.frames is not None:
        return content.frame, content.frames
    frames = frames_of(place[0])
    assert frames is not None, f"{place[0]} is no topic of columns"
    return frames.framed(columns_of(read_raws(place, part))), frames


def _headers(frame: pl.DataFrame) -> Sequence[Any]:
    column = frame["headers"]
    if column.null_count() == len(column):
        return [()] * len(column)
    return [_HEADERS.decode(item) if item else () for item in column.to_list()]


def columns_of(raws: Sequence[Raw]) -> RawColumns:
    """The same records by columns."""
    return RawColumns(
        offsets=[raw.offset for raw in raws],
        append_ms=[raw.append_ms for raw in raws],
        keys=[raw.key for raw in raws],
        values=[raw.value for raw in raws],
        headers=[raw.headers for raw in raws],
    )


def damaged(place: TopicPartition, part: Part, what: str) -> TapeDamaged:
    """For a file that is not what it was."""
    return TapeDamaged(
        f"The tape of {place[0]}-{place[1]}, offsets {part.start} to {part.end - 1}, is damaged: "
        f"{what}.",
        f"Delete {part.path.parent} to pull it again from the topic.",
    )
