"""Records in a log, of builds old and new, and processes that pull them."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import polars as pl
from check_evolution import RELEASED, load
from generate_contracts import inlined
from memory_log import MemoryLog

from tapeline.backtest.tape import store
from tapeline.backtest.tape.store import Tape
from tapeline.contracts.system import WriterSchema
from tapeline.runtime.codec import MARKER, encode, fingerprint_of
from tapeline.runtime.log import Raw, RawColumns, values_digest

TICKS = ("ticks", 0)


def a_log(count: int = 25, markers: int = 1) -> MemoryLog:
    """Ticks of partition 0, with headers here and there, and gaps."""
    log = MemoryLog(markers=markers)
    for number in range(count):
        headers = (("event_id", b"%d" % number), ("producer", b"x")) if number % 3 else ()
        log.add(TICKS, b"value %d" % number, headers, gap=number % 7 == 6)
    return log


def pull_and_die(folder: Path) -> None:
    """What a process does that is killed before its third file."""
    store.CHUNK = 10  # type: ignore[misc]
    write = store.write

    def write_or_die(place: Path, topic: str, bounds: tuple[int, int], found: RawColumns) -> None:
        if bounds[0] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        write(place, topic, bounds, found)

    store.write = write_or_die
    Tape(folder).pull(a_log(), ["ticks"])


def pull(folder: Path) -> None:
    """What a process does that pulls in many small files."""
    store.CHUNK = 3  # type: ignore[misc]
    Tape(folder).pull(a_log(200), ["ticks"])


def old_file(folder: Path, start: int, end: int, raws: Sequence[Raw]) -> Path:
    """A file as the tape wrote it before it had columns."""
    schema = {"offset": pl.Int64(), "append_ms": pl.Int64()}
    schema |= dict.fromkeys(("key", "value", "headers"), pl.Binary())
    table = pl.DataFrame(
        {
            "offset": [raw.offset for raw in raws],
            "append_ms": [raw.append_ms for raw in raws],
            "key": [raw.key for raw in raws],
            "value": [raw.value for raw in raws],
            "headers": [
                msgspec.msgpack.encode(raw.headers) if raw.headers else None for raw in raws
            ],
        },
        schema=schema,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{start:020d}-{end:020d}.parquet"
    metadata = {"tapeline.digest": values_digest(raws).hex(), "tapeline.count": str(len(raws))}
    table.write_parquet(path, compression="zstd", metadata=metadata)
    return path


def released(name: str) -> Any:
    """The schema of a record type in the first release."""
    known = load(RELEASED / "0.1.0")
    return inlined(name, known)


def by_schema(source: Any, record: Any) -> bytes:
    """The message that a build with this schema would write."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(source), record.to_avro())
    return MARKER + fingerprint_of(source).to_bytes(8, "little") + out.getvalue()


def published(source: Any) -> bytes:
    """What that build puts on the topic `schemas` before."""
    name, text = f"{source['namespace']}.{source['name']}", json.dumps(source)
    mark = f"{fingerprint_of(source):016x}"
    return encode(WriterSchema(fingerprint=mark, name=name, schema=text, ts_init_ns=1))
