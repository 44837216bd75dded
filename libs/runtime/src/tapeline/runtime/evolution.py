"""Which schema may read which: the rules of FULL_TRANSITIVE evolution, and stricter ones of ours.

The Avro rules let a reader misread what it should refuse, so besides them: the logical type,
precision and scale of a decimal must be equal (the fingerprint does not see them), an enum's
default must not change, and names are never matched by alias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PROMOTIONS = {
    "int": ("int", "long", "double"),
    "long": ("long", "double"),
    "double": ("double",),
    "string": ("string",),
    "bytes": ("bytes",),
    "boolean": ("boolean",),
    "null": ("null",),
}


def incompatibility(writer: Any, reader: Any) -> str:
    """Why records of `writer` cannot be read as `reader`; empty when they can."""
    return _compare(writer, reader, "", {}, {})


def _compare(
    writer: Any, reader: Any, path: str, writers: dict[str, Any], readers: dict[str, Any]
) -> str:
    writer, reader = _resolved(writer, writers), _resolved(reader, readers)
    if isinstance(writer, list) or isinstance(reader, list):
        return _compare_unions(writer, reader, path, writers, readers)
    kind, wanted = _kind(writer), _kind(reader)
    if kind in PROMOTIONS and wanted in PROMOTIONS:
        return _compare_primitives(writer, reader, path)
    if kind != wanted:
        return f"{path or 'the record'} is {kind}, we read {wanted}"
    if kind == "array":
        return _compare(writer["items"], reader["items"], f"{path}[]", writers, readers)
    if kind == "map":
        return _compare(writer["values"], reader["values"], f"{path}{{}}", writers, readers)
    if _full_name(writer) != _full_name(reader):
        return f"{path or 'the record'} is {_full_name(writer)}, we read {_full_name(reader)}"
    if kind == "enum":
        return _compare_enums(writer, reader, path)
    return _compare_records(writer, reader, path, writers, readers)


def _resolved(schema: Any, known: dict[str, Any]) -> Any:
    if isinstance(schema, str):
        return known.get(schema, schema)
    if isinstance(schema, Mapping) and schema.get("type") in ("record", "enum", "fixed"):
        known[_full_name(schema)] = schema
    return schema


def _kind(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, Mapping) else schema)


def _full_name(schema: Mapping[str, Any]) -> str:
    return f"{schema.get('namespace', '')}.{schema['name']}".lstrip(".")


def _compare_primitives(writer: Any, reader: Any, path: str) -> str:
    kind, wanted = _kind(writer), _kind(reader)
    if wanted not in PROMOTIONS[kind]:
        return f"{path} is {kind}, we read {wanted}"
    for attribute in ("logicalType", "precision", "scale"):
        theirs = writer.get(attribute) if isinstance(writer, Mapping) else None
        ours = reader.get(attribute) if isinstance(reader, Mapping) else None
        if theirs != ours:
            return f"{path} has {attribute} {theirs}, we read {ours}"
    return ""


def _compare_enums(writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> str:
    if writer.get("default") != reader.get("default"):
        return f"{path}: the enum's default {writer.get('default')} is not {reader.get('default')}"
    missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if missing and reader.get("default") is None:
        return f"{path} may be {', '.join(missing)}, which we do not know"
    return ""


def _compare_unions(
    writer: Any, reader: Any, path: str, writers: dict[str, Any], readers: dict[str, Any]
) -> str:
    for branch in writer if isinstance(writer, list) else [writer]:
        options = reader if isinstance(reader, list) else [reader]
        problems = [
            _compare(branch, option, path, dict(writers), dict(readers)) for option in options
        ]
        if all(problems):
            return f"{path} may be {_kind(_resolved(branch, writers))}: {problems[-1]}"
    # Walk once more so that names defined inside the unions are known to what follows.
    for schema, known in ((writer, writers), (reader, readers)):
        for branch in schema if isinstance(schema, list) else [schema]:
            _learn(branch, known)
    return ""


def _learn(schema: Any, known: dict[str, Any]) -> None:
    schema = _resolved(schema, known)
    if isinstance(schema, list):
        for branch in schema:
            _learn(branch, known)
    elif isinstance(schema, Mapping) and schema.get("type") == "record":
        for field in schema["fields"]:
            if not isinstance(field["type"], str):
                _learn(field["type"], known)
    elif isinstance(schema, Mapping) and schema.get("type") in ("array", "map"):
        _learn(schema.get("items", schema.get("values")), known)


def _compare_records(
    writer: Mapping[str, Any],
    reader: Mapping[str, Any],
    path: str,
    writers: dict[str, Any],
    readers: dict[str, Any],
) -> str:
    theirs = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        where = f"{path}.{field['name']}".lstrip(".")
        if field["name"] in theirs:
            problem = _compare(
                theirs.pop(field["name"])["type"], field["type"], where, writers, readers
            )
            if problem:
                return problem
        elif "default" not in field:
            return f"{where} is missing and has no default"
    return ""


def hazard(schema: Any) -> str:
    """Why a parsed schema of others must not be decoded with; empty when it may.

    Recursive types overflow the decoder's stack, and arrays or maps of items without bytes let five
    bytes make millions of items: both also in fields that the reader skips.
    """
    return _hazard(schema, {}, ())


def _hazard(schema: Any, known: dict[str, Any], within: tuple[str, ...]) -> str:
    if isinstance(schema, str):
        if schema in within:
            return f"{schema} contains itself"
        # Named types are looked into where they are defined.
        return ""
    if isinstance(schema, list):
        return _first(_hazard(branch, known, within) for branch in schema)
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _hazard(kind, known, within)
    if kind in ("record", "error", "enum", "fixed"):
        name = _full_name(schema)
        known[name] = schema
        fields = schema.get("fields", ())
        return _first(_hazard(field["type"], known, (*within, name)) for field in fields)
    if kind in ("array", "map"):
        item = schema["items"] if kind == "array" else schema["values"]
        if kind == "array" and _bytes_min(item, known) == 0:
            return "an array has items without bytes"
        return _hazard(item, known, within)
    return f"{kind} contains itself" if kind in within else ""


def _bytes_min(schema: Any, known: dict[str, Any]) -> int:
    """Fewest bytes that a value takes."""
    if isinstance(schema, list):
        return 1  # the branch's number
    if isinstance(schema, dict):
        return _bytes_min_of_type(schema, known)
    if schema in known:
        # What contains itself is refused elsewhere; here it must only come to an end.
        return _bytes_min(known[schema], {**known, schema: "boolean"})
    return 0 if schema == "null" else 1


def _bytes_min_of_type(schema: dict[str, Any], known: dict[str, Any]) -> int:
    kind = schema["type"]
    if kind in ("record", "error"):
        inside = {**known, _full_name(schema): "boolean"}
        return sum(_bytes_min(field["type"], inside) for field in schema["fields"])
    if kind == "fixed":
        return int(schema["size"])
    if kind in ("enum", "array", "map"):
        return 1
    return _bytes_min(kind, known)


def _first(problems: Iterable[str]) -> str:
    return next((problem for problem in problems if problem), "")
