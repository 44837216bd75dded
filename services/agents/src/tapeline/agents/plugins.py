"""Implementations of triggers and groups, found by entry points of installed packages, or offered
by who started the process (strategy_file.py).

Errors:
    BadConfig    a config record names code or a parameter that does not exist, or a wrong value;
                 `cause` names the record, `remedy` says what to do
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

import msgspec

from tapeline.agents import group as group_contract
from tapeline.agents import trigger as trigger_contract
from tapeline.agents.analysis import Watch
from tapeline.agents.group import Group, GroupSetup
from tapeline.contracts.config import Trigger
from tapeline.runtime import exits

GIVEN = ("name", "interval_ns")
"""Fields of a trigger that its config record holds itself."""
_offered: dict[tuple[str, str], Callable[..., Any]] = {}
"""(entry point group, name) -> what is no installed package's"""


class BadConfig(exits.Failure):
    """A config record cannot be put to work."""

    exit_code = exits.USAGE

    @property
    def sentence(self) -> str:
        """Cause and remedy on one line."""
        return f"{self.cause} {self.remedy}"


def make_watch(config: Trigger) -> Watch:
    """The trigger of a config record; raises BadConfig."""
    subject = f"Trigger {config.trigger} (version {config.version})"
    implementation = _implementation(trigger_contract.ENTRY_POINTS, config.implementation, subject)
    parameters = converted(implementation, config.parameters, GIVEN, subject)
    try:
        core = implementation(name=config.trigger, interval_ns=config.interval_ns, **parameters)
    except ValueError as error:
        raise BadConfig(f"{subject}: {error}.", "Publish a corrected version of it.") from error
    return Watch(config=config, core=core)


def make_group(setup: GroupSetup) -> Group:
    """The group of a config record; raises BadConfig."""
    subject = f"Group {setup.group.group_id} (version {setup.group.version})"
    factory = _implementation(group_contract.ENTRY_POINTS, setup.group.implementation, subject)
    try:
        group: Group = factory(setup)
    except ValueError as error:
        raise BadConfig(f"{subject}: {error}.", "Publish a corrected version of it.") from error
    return group


def offer(group: str, name: str, implementation: Callable[..., Any]) -> None:
    """Makes an implementation known to this process, beside those of installed packages."""
    _offered[group, name] = implementation


def converted(
    target: Callable[..., Any], parameters: Mapping[str, str], given: tuple[str, ...], subject: str
) -> dict[str, Any]:
    """Texts of a config record as the types of a dataclass's fields; raises BadConfig."""
    names = [field.name for field in fields(target) if field.name not in given]  # type: ignore[arg-type]  # checked where it was found
    hints = get_type_hints(target)
    result = {}
    for name in sorted(parameters):
        if name not in names:
            known = ", ".join(names) or "none"
            raise BadConfig(f"{subject}: unknown parameter {name}.", f"It takes: {known}.")
        try:
            result[name] = msgspec.convert(parameters[name], hints[name], strict=False)
        except msgspec.ValidationError as error:
            raise BadConfig(
                f"{subject}: parameter {name} is {parameters[name]!r}: {error}.",
                "Publish a corrected version of it.",
            ) from error
    return result


def _implementation(group: str, name: str, subject: str) -> Callable[..., Any]:
    if (group, name) in _offered:
        return _offered[group, name]
    found = _found(group, tuple(sys.path))
    if name not in found:
        known = ", ".join(sorted([*found, *_offered_of(group)])) or "none"
        raise BadConfig(
            f"{subject}: there is no implementation {name!r} in {group}.",
            f"Install its package, or name one of: {known}.",
        )
    implementation: Callable[..., Any] = found[name].load()
    return implementation


def _offered_of(group: str) -> list[str]:
    return [name for where, name in _offered if where == group]


@cache
def _found(group: str, _path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Looking through all installed packages takes longer than the rest of a start."""
    return {point.name: point for point in entry_points(group=group)}
