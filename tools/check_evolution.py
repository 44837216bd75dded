"""Says whether the schemas may follow all released ones: FULL_TRANSITIVE, and rules of ours.

Replay reads all history, so every released version must read every other. Besides what Avro and
tapeline.runtime.evolution refuse: a type, field or enum symbol may not go; a field's default, the
parts of a content key and what is outside digests may not change, for ids and digests are made of
them; and two schemas of one name and one fingerprint must be the same, for a reader finds the
writer's schema by its fingerprint, which sees neither defaults nor logical types.

    python tools/check_evolution.py                   check schemas/ against schemas/released/*
    python tools/check_evolution.py --release 0.2.0   check, then keep them as that version
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from generate_contracts import inlined
from repository import ROOT

from tapeline.runtime.codec import fingerprint_of
from tapeline.runtime.evolution import incompatibility

SCHEMAS = ROOT / "schemas"
RELEASED = SCHEMAS / "released"
Schema = dict[str, Any]
Version = Mapping[str, Schema]


def load(folder: Path) -> dict[str, Schema]:
    """Named types of a folder by full name."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.avsc"))}
    assert all(f"{one['namespace']}.{one['name']}" == name for name, one in found.items())
    return found


def released() -> dict[str, dict[str, Schema]]:
    """Released versions, oldest first."""
    folders = [path for path in RELEASED.iterdir() if path.is_dir()] if RELEASED.exists() else []
    ordered = sorted(folders, key=lambda path: [int(part) for part in path.name.split(".")])
    return {path.name: load(path) for path in ordered}


def problems(old: Version, new: Version) -> list[str]:
    """Why `new` may not follow `old`; empty when it may."""
    found = [f"{name} is gone" for name in old if name not in new]
    for name in sorted(set(old) & set(new)):
        before, after = inlined(name, dict(old)), inlined(name, dict(new))
        if before["type"] != after["type"]:
            found.append(f"{name} was {before['type']}, is {after['type']}")
            continue
        found += [f"{name}: {problem}" for problem in _problems_of_type(before, after)]
    return found


def _problems_of_type(before: Schema, after: Schema) -> Iterator[str]:
    for direction, problem in (
        ("new readers of old records", incompatibility(before, after)),
        ("old readers of new records", incompatibility(after, before)),
    ):
        if problem:
            yield f"{direction}: {problem}"
    if before["type"] == "enum":
        gone = [symbol for symbol in before["symbols"] if symbol not in after["symbols"]]
        if gone:
            yield f"the symbol {gone[0]} is gone"
        return
    yield from _problems_of_record(before, after)
    if fingerprint_of(before) == fingerprint_of(after) and _meaning(before) != _meaning(after):
        yield "another schema of the same fingerprint"


def _problems_of_record(before: Schema, after: Schema) -> Iterator[str]:
    if before.get("content_key") != after.get("content_key"):
        yield f"content_key was {before.get('content_key')}, is {after.get('content_key')}"
    fields = {field["name"]: field for field in after["fields"]}
    for field in before["fields"]:
        now = fields.get(field["name"])
        if now is None:
            yield f"the field {field['name']} is gone"
            continue
        for attribute in ("default", "outside_digest"):
            if field.get(attribute) != now.get(attribute) or (attribute in field) != (
                attribute in now
            ):
                yield (
                    f"{attribute} of {field['name']} was {field.get(attribute, 'not there')}, "
                    f"is {now.get(attribute, 'not there')}"
                )


def _meaning(schema: Any) -> Any:
    """A schema without its prose."""
    if isinstance(schema, dict):
        return {key: _meaning(value) for key, value in schema.items() if key != "doc"}
    return [_meaning(part) for part in schema] if isinstance(schema, list) else schema


def check() -> list[str]:
    """Problems of the present schemas against every released version."""
    now = load(SCHEMAS)
    return [
        f"{version}: {problem}"
        for version, then in released().items()
        for problem in problems(then, now)
    ]


def release(version: str) -> None:
    """Keeps the present schemas as a version."""
    target = RELEASED / version
    target.mkdir(parents=True)
    for path in sorted(SCHEMAS.glob("*.avsc")):
        shutil.copy(path, target / path.name)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", metavar="VERSION", help="keep the schemas as this version")
    version = parser.parse_args().release
    if version and not re.fullmatch(r"\d+\.\d+\.\d+", version):
        parser.error(f"{version} is no version; expected three numbers such as 0.2.0")
    if version and (RELEASED / version).exists():
        parser.error(f"{version} is released; released schemas do not change")
    found = check()
    for problem in found:
        print(problem, file=sys.stderr)
    if version and not found:
        release(version)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
