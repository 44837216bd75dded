"""Trips of the kill switch that come by no topic: what a halt file says, and what is kept of it.

A halt file is any file `halt` or `halt-...` in the switch folder. An empty one halts everything and
cancels open orders; one with a JSON object says more:

    {"scope": "account:PAPER-1", "level": "flatten", "reason": "...", "spares_protective": true,
     "id": "...", "sequence": 0}

all of it optional. What cannot be read halts everything: a kill switch is never asked to repeat
itself. A trip is kept in a latch file of the process, `latched-<name>.json`, until a signed control
record has superseded it; removing the halt file resumes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.ids import content_id

HALT_NAME: Final = "halt"
FLATTEN_VALID_NS: Final = 600_000_000_000
"""how long after a trip positions may be closed in its name"""
KNOWN: Final = dict.fromkeys(
    ("scope", "level", "reason", "spares_protective", "id", "sequence"), True
)
SIZE_MAX: Final = 65_536
REASON_MAX: Final = 1_000
LEVELS: Final = {
    "stop-entries": SwitchLevel.STOP_ENTRIES,
    "cancel-all": SwitchLevel.CANCEL_ALL,
    "flatten": SwitchLevel.FLATTEN,
}
"""As people write them."""


class BadScope(Failure):
    """A scope that does not exist."""

    exit_code = USAGE


def parsed_scope(text: str) -> tuple[ScopeKind, str]:
    """`all`, or kind:id; raises BadScope."""
    kind, _, name = text.partition(":")
    if kind.upper() == "ALL" and not name:
        return ScopeKind.ALL, ""
    if kind.upper() in ScopeKind.__members__ and kind.upper() != "ALL" and name:
        return ScopeKind(kind.upper()), name
    raise BadScope(
        f"{text!r} is no scope.",
        "Write all, or account:, group:, strategy:, instrument: or venue: and an id.",
    )


def signal_trip(number: int, now_ns: int, process: str) -> LocalTrip:
    """Everything halted and canceled, because a signal said so."""
    return LocalTrip(
        trip_id=content_id(f"signal/{process}/{number}/{now_ns}"),
        origin=f"signal {number}",
        scope=ScopeKind.ALL,
        scope_id="",
        level=SwitchLevel.CANCEL_ALL,
        spares_protective=True,
        reason=f"signal {number} to {process}",
        sequence=now_ns,
        expires_ns=now_ns + FLATTEN_VALID_NS,
    )


def trip_of_file(path: Path, now_ns: int) -> LocalTrip:
    """What a halt file asks for; never fails: what cannot be read halts everything."""
    try:
        with path.open("rb") as file:
            modified_ns = os.fstat(file.fileno()).st_mtime_ns
            said = _said(file.read(SIZE_MAX))
            return _trip(path.name, said, modified_ns, now_ns)
    except (OSError, ValueError, TypeError, AttributeError, Failure) as error:
        reason = f"{path.name} cannot be understood ({error}), so everything is halted"
        return _trip(path.name, {"reason": reason[:REASON_MAX]}, _modified_ns(path), now_ns)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _said(content: bytes) -> Mapping[str, Any]:
    text = content.decode().strip()
    if not text:
        return {}
    if not text.startswith("{"):
        return {"reason": text[:REASON_MAX]}
    said = json.loads(text)
    unknown = sorted(said.keys() - KNOWN.keys())
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}")
    return dict(said)


def _trip(name: str, said: Mapping[str, Any], modified_ns: int, now_ns: int) -> LocalTrip:
    kind, scope_id = parsed_scope(str(said.get("scope", "all")))
    level = LEVELS.get(str(said.get("level", "cancel-all")))
    if level is None:
        raise ValueError(f"{said['level']!r} is no level")
    # A file from the future must not keep out the record that resumes.
    sequence = min(int(said.get("sequence", modified_ns)), now_ns)
    return LocalTrip(
        trip_id=str(said.get("id", "")) or content_id(f"file/{name}/{modified_ns}"),
        origin=f"file {name}",
        scope=kind,
        scope_id=scope_id,
        level=level,
        spares_protective=said.get("spares_protective", True) is not False,
        reason=str(said.get("reason", "")) or f"file {name}",
        sequence=sequence,
        expires_ns=sequence + FLATTEN_VALID_NS,
    )


def halt_files(folder: Path) -> list[Path]:
    """The halt files that are there now, oldest name first; raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return [folder / name for name in sorted(names) if _is_halt(name)]


def _is_halt(name: str) -> bool:
    is_ours = name.casefold() == HALT_NAME or name.casefold().startswith(f"{HALT_NAME}-")
    return is_ours and not name.endswith(".part")


def write_halt_file(folder: Path, name: str, said: Mapping[str, Any]) -> Path:
    """Pulls the switch of everything that watches the folder; whole or not at all."""
    path = folder / name
    part = folder / f"{name}.part"
    _write_synced(part, json.dumps(dict(said)) + "\n")
    part.replace(path)
    return path


class Latch:
    """The trips that a process has not been released from, on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"latched-{name}.json"

    def load(self) -> list[LocalTrip]:
        """What was kept; a latch that cannot be read halts everything. Raises nothing."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError):
            return [self._damaged()]
        try:
            return [_kept(item) for item in json.loads(text)]
        except (ValueError, TypeError, KeyError):
            return [self._damaged()]

    def _damaged(self) -> LocalTrip:
        said = {"reason": f"{self.path.name} is damaged, so everything is halted"}
        modified_ns = _modified_ns(self.path)
        return _trip(self.path.name, said, modified_ns, modified_ns)

    def keep(self, trips: Iterable[LocalTrip]) -> None:
        """Writes the trips, or removes the file where there are none; raises OSError."""
        found = [trip.to_avro() for trip in trips]
        if not found:
            self.path.unlink(missing_ok=True)
            return
        part = self.path.with_name(self.path.name + ".part")
        _write_synced(part, json.dumps(found, indent=1) + "\n")
        part.replace(self.path)


def _kept(item: Mapping[str, Any]) -> LocalTrip:
    trip = LocalTrip.from_avro(item)
    if not isinstance(trip.sequence, int) or not isinstance(trip.expires_ns, int):
        raise TypeError("times are numbers")
    return trip


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
