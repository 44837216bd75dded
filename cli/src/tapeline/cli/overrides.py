"""Changes to the records of a configuration, written as TABLE.ID.FIELD=VALUE.

    mandate.PAPER-1.position_weight_max=0.1     one field of one record
    venue.*.taker_fee_rate=0.001                of every record of the table
    mandate.*.limits.order_rate_max=5           a field of a record within
    trend.band=0.002                            a parameter of a group or a trigger (--param)

Errors:
    BadOverride     what is to be changed is not there; the message names what is
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

from tapeline.cli.configuration import KINDS, value_of
from tapeline.contracts.config import GroupKind, TradingGroup, Trigger
from tapeline.runtime.exits import Failure

Records = tuple[Any, ...]
EVERY = "*"


class BadOverride(Failure):
    """An override changes nothing that there is."""

    exit_code = 64


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE of each; raises BadOverride."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadOverride(f"{option} {text!r} is not NAME=VALUE.", "Write it with one `=`.")
        found[name] = value
    return found


def with_settings(records: Sequence[Any], changes: Mapping[str, str]) -> Records:
    """The records with fields changed."""
    for name, value in changes.items():
        records = _with_setting(tuple(records), name, value)
    return tuple(records)


def with_parameters(records: Sequence[Any], changes: Mapping[str, str]) -> Records:
    """The records with parameters of groups and triggers changed."""
    for name, value in changes.items():
        records = _with_parameter(tuple(records), name, value)
    return tuple(records)


def with_groups(records: Sequence[Any], groups: Sequence[str]) -> Records:
    """Only these groups decide; all where none is named."""
    if not groups:
        return tuple(records)
    known = [record.group_id for record in records if isinstance(record, TradingGroup)]
    for name in groups:
        if name not in known:
            raise BadOverride(f"There is no group {name}.", f"There are {', '.join(known)}.")
    return _replaced(
        records,
        lambda record: isinstance(record, TradingGroup) and record.kind is not GroupKind.MANUAL,
        lambda record: dataclasses.replace(record, is_enabled=record.group_id in groups),
    )


def _with_setting(records: Records, name: str, value: str) -> Records:
    table, _, rest = name.partition(".")
    if table not in KINDS:
        raise BadOverride(f"--set {name}: there is no table {table}.", f"Use {', '.join(KINDS)}.")
    kind, identity = KINDS[table]
    known = [getattr(record, identity) for record in records if isinstance(record, kind)]
    chosen = [entity for entity in (*known, EVERY) if rest.startswith(f"{entity}.")]
    if not chosen:
        raise BadOverride(
            f"--set {name} names no {table} of the configuration.",
            f"Write {table}.ID.FIELD=VALUE; ids are {', '.join(known) or 'none'}, or *.",
        )
    entity = max(chosen, key=len)
    path = rest[len(entity) + 1 :].split(".")
    return _replaced(
        records,
        lambda record: isinstance(record, kind) and entity in (EVERY, getattr(record, identity)),
        lambda record: _changed(record, path, value, f"--set {name}"),
    )


def _with_parameter(records: Records, name: str, value: str) -> Records:
    owner, _, parameter = name.rpartition(".")
    known = [name_of(record) for record in records if name_of(record)]
    if owner not in known or not parameter:
        raise BadOverride(
            f"--param {name} names no group or trigger of the configuration.",
            f"Write NAME.PARAMETER=VALUE; names are {', '.join(known)}.",
        )
    return _replaced(
        records,
        lambda record: name_of(record) == owner,
        lambda record: dataclasses.replace(
            record, parameters={**record.parameters, parameter: value}
        ),
    )


def name_of(record: Any) -> str:
    """Of a group or trigger; empty for what has no parameters."""
    if isinstance(record, TradingGroup):
        return record.group_id
    return record.trigger if isinstance(record, Trigger) else ""


def _replaced(
    records: Sequence[Any], is_meant: Callable[[Any], bool], change: Callable[[Any], Any]
) -> Records:
    return tuple(change(record) if is_meant(record) else record for record in records)


def _changed(record: Any, path: Sequence[str], value: str, where: str) -> Any:
    name, *rest = path
    hints = typing.get_type_hints(type(record))
    if name not in hints or name == "AVRO":
        fields = ", ".join(field.name for field in dataclasses.fields(record))
        raise BadOverride(f"{where}: there is no field {name}.", f"The fields are {fields}.")
    if not rest:
        return dataclasses.replace(record, **{name: _value(hints[name], value, where)})
    within = getattr(record, name)
    kind: Any = _present(hints[name])
    if dataclasses.is_dataclass(kind):
        inner = _blank(kind) if within is None else within
        return dataclasses.replace(record, **{name: _changed(inner, rest, value, where)})
    if typing.get_origin(kind) is dict:
        entry = {".".join(rest): _value(typing.get_args(kind)[1], value, where)}
        return dataclasses.replace(record, **{name: {**(within or {}), **entry}})
    raise BadOverride(f"{where}: {name} is one value.", f"Leave out .{'.'.join(rest)}.")


def _value(hint: Any, text: str, where: str) -> Any:
    """The text as a field's type: money and names as written, all else as TOML has it."""
    kind = _present(hint)
    if kind in (str, Decimal) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return value_of(kind, text, where)
    try:
        return value_of(kind, tomllib.loads(f"value = {text}")["value"], where)
    except tomllib.TOMLDecodeError:
        return value_of(kind, text, where)


def _present(hint: Any) -> Any:
    """The type of a field where it is not missing."""
    if typing.get_origin(hint) is types.UnionType:
        return typing.get_args(hint)[0]
    return hint


def _blank(kind: Any) -> Any:
    """A record that says nothing yet, such as limits."""
    return kind()
