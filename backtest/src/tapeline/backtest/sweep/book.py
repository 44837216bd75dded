"""The results of a sweep on disk, a line each: what was played is not played again.

A line that a killed process left half written is passed over. Several processes (parts of one sweep
on a cluster) write files of their own; all of them are read.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tapeline.backtest.sweep.trial import Result

ENCODE = msgspec.json.Encoder().encode
DECODE = msgspec.json.Decoder(Result)


class Book:
    """Results by key."""

    def __init__(self, folder: Path, name: str = "trials") -> None:
        """`name` of the file that this process writes."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.jsonl"
        self.results: dict[str, Result] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    result = DECODE.decode(line)
                except msgspec.MsgspecError:
                    continue
                self.results.setdefault(result.key, result)

    def add(self, result: Result) -> None:
        """Notes a result, for good."""
        self.results[result.key] = result
        with self._path.open("ab+") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # behind half a line
            file.write(ENCODE(result) + b"\n")
            file.flush()
            os.fsync(file.fileno())
