"""A run's configuration: one TOML file of instruments, venues, accounts, groups, triggers and more.

Tables are named after the config records; a key that the record does not have, a missing one and a
value of the wrong kind are refused with the table and the key. [default.instrument] and the like
hold what the entries of a table have in common, tables within them too. Durations (fields that end
in _ns) are written like "60s", "1d" or "5m"; money, quantities and rates as strings or numbers.

Errors:
    ConfigurationError  names file, table and key, and what is expected
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path
from typing import Any

from tapeline.cli.calendars import CALENDARS
from tapeline.contracts import config
from tapeline.runtime.exits import Failure

KINDS: dict[str, tuple[type[Any], str]] = {
    "instrument": (config.Instrument, "instrument_id"),
    "account": (config.Account, "account_id"),
    "group": (config.TradingGroup, "group_id"),
    "trigger": (config.Trigger, "trigger"),
    "mandate": (config.Mandate, "account_id"),
    "overlay": (config.RiskOverlay, "overlay_id"),
    "budget": (config.Budget, "budget_id"),
    "watchlist": (config.Watchlist, "universe"),
    "venue": (config.Venue, "venue"),
}
"""Table name -> record type and the field that identifies it."""
DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)$")
UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}


class ConfigurationError(Failure):
    """A configuration file says something that is not understood."""

    exit_code = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """Everything of one file: the run's own settings, and the records for the config topic."""

    name: str
    settings: Mapping[str, Any]
    """the table [run]"""
    records: tuple[Any, ...]

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of one type, in the file's order."""
        return [record for record in self.records if isinstance(record, kind)]


def load_configuration(path: Path) -> Configuration:
    """Reads and checks a file."""
    return parse_configuration(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a configuration file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {path}.", "Give the path of an existing one."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}.", "Correct the file; it is TOML."
        ) from error


def parse_configuration(text: str, path: Path) -> Configuration:
    """Checks the text of the file that the errors name."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}.", "Correct the file; it is TOML."
        ) from error
    settings = data.pop("run", {})
    defaults = data.pop("default", {})
    records: list[Any] = []
    for table, entries in data.items():
        if table not in KINDS:
            raise ConfigurationError(
                f"{path}: [{table}] is not a table of a configuration.",
                f"The tables are run, {', '.join(KINDS)}.",
            )
        listed = entries if isinstance(entries, list) else [entries]
        common = defaults.get(table, {})
        records += [record_of(table, merged(common, entry), str(path)) for entry in listed]
    _check_references(records, str(path))
    _check_calendars(records, str(path))
    return Configuration(path.stem, settings, tuple(records))


def merged(common: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry over what all have in common, tables within tables too: no limit gets lost."""
    found = {**common, **entry}
    for key, value in entry.items():
        if isinstance(value, dict) and isinstance(common.get(key), dict):
            found[key] = merged(common[key], value)
    return found


def record_of(table: str, entry: Mapping[str, Any], where: str) -> Any:
    """One table as its record; `version` is 1 where it is not given."""
    kind, identity = KINDS[table]
    name = f"[{table}] {entry.get(identity, '?')}"
    return filled(kind, {"version": 1, **entry}, f"{where}: {name}")


def filled(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """A record, or one inside another, with its own defaults for what is not said."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise ConfigurationError(
            f"{where} has the unknown setting {unknown[0]}.",
            f"The settings are {', '.join(fields)}.",
        )
    missing = [
        key
        for key, field in fields.items()
        if key not in values and field.default is dataclasses.MISSING
    ]
    if missing:
        raise ConfigurationError(f"{where} lacks {', '.join(missing)}.", "Add what is missing.")
    return kind(
        **{key: value_of(hints[key], value, f"{where} {key}") for key, value in values.items()}
    )


def value_of(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as a field's type."""
    if typing.get_origin(kind) is types.UnionType:
        # TOML has no null: what may be missing is left out.
        return value_of(typing.get_args(kind)[0], value, where)
    if isinstance(value, list | dict):
        return _table_of(kind, value, where)
    if kind is int and isinstance(value, str):
        return duration_ns(value, where)
    if kind is Decimal and isinstance(value, str | int | float) and not isinstance(value, bool):
        return decimal_of(value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(value, str):
        if value in kind.__members__:
            return kind(value)
        raise ConfigurationError(
            f"{where} is {value!r}.", f"It is one of {', '.join(kind.__members__)}."
        )
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise _unlike(kind, value, where)


def _table_of(kind: Any, value: list[Any] | dict[str, Any], where: str) -> Any:
    """A list, a map or a record within a record."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, list):
        return tuple(value_of(inner[0], item, where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: value_of(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return filled(kind, value, where)
    raise _unlike(kind, value, where)


def _unlike(kind: Any, value: Any, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"{where} is {value!r}.", f"A value of type {getattr(kind, '__name__', kind)} is expected."
    )


def decimal_of(value: str | float, where: str) -> Decimal:
    """An exact decimal; a float counts as the text it was written with."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ConfigurationError(f"{where} is {value!r}.", "A finite number is expected.")
    return found


def duration_ns(value: str, where: str) -> int:
    """Nanoseconds of a text such as 60s or 1d."""
    match = DURATION.match(value)
    if match is None:
        raise ConfigurationError(
            f"{where} is {value!r}.", "A duration such as 250ms, 60s, 5m, 1h or 1d is expected."
        )
    return int(Decimal(match[1]) * UNITS_NS[match[2]])


def key_of(record: Any) -> str:
    """Key of a record on the config topic: its kind and id, for the topic is compacted."""
    for table, (kind, identity) in KINDS.items():
        if isinstance(record, kind):
            return f"{table}/{getattr(record, identity)}"
    raise AssertionError(f"{type(record).__name__} is no config record")


def _check_references(records: Iterable[Any], where: str) -> None:
    """Every id that a record mentions is defined in the same file."""
    records = list(records)
    known = {key_of(record) for record in records}
    for record in records:
        for key, value in _references(record):
            if f"{key}/{value}" not in known:
                raise ConfigurationError(
                    f"{where}: {key_of(record)} mentions the {key} {value}, which is not there.",
                    f"Add a [[{key}]] table for it, or correct the name.",
                )


def _check_calendars(records: Iterable[Any], where: str) -> None:
    for record in records:
        if isinstance(record, config.Instrument) and record.calendar not in CALENDARS:
            raise ConfigurationError(
                f"{where}: {key_of(record)} calendar is {record.calendar!r}.",
                "An exchange calendar such as XNYS, 24/5 or 24/7 is expected.",
            )


def _references(record: Any) -> Iterable[tuple[str, str]]:
    match record:
        case config.Instrument():
            yield ("venue", record.venue)
            yield from (("venue", name) for name in record.venue_symbols or {})
        case config.Account():
            yield ("venue", record.venue)
        case config.TradingGroup():
            yield ("account", record.account_id)
            yield from (("instrument", name) for name in record.instruments)
            yield from (("trigger", name) for name in record.trigger_weights)
        case config.Trigger() | config.Watchlist():
            yield from (("instrument", name) for name in record.instruments)
        case config.Mandate():
            yield ("account", record.account_id)
            yield from (("instrument", name) for name in record.instruments)
            yield from (("instrument", name) for name in record.instrument_limits or {})
            yield from (("venue", name) for name in record.venues or ())
        case config.RiskOverlay():
            yield ("account", record.account_id)
        case config.Budget():
            yield from (("account", name) for name in record.shares)
        case _:
            return
