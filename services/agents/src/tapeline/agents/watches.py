"""Which triggers are at work, from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from tapeline.agents.analysis import Watch
from tapeline.agents.config_book import ConfigBook
from tapeline.agents.plugins import BadConfig, make_watch


def watches_of(book: ConfigBook) -> tuple[Watch, ...]:
    """Every enabled trigger, by name; raises BadConfig for the first that cannot work."""
    watches, faults = adopted((), book)
    if faults:
        raise faults[0]
    return watches


def adopted(
    held: Sequence[Watch], book: ConfigBook
) -> tuple[tuple[Watch, ...], tuple[BadConfig, ...]]:
    """The triggers after a change, and what cannot be put to work.

    An unchanged record keeps its very Watch. A record that cannot work leaves the form before it.
    """
    by_name = {watch.config.trigger: watch for watch in held}
    watches: list[Watch] = []
    faults: list[BadConfig] = []
    for name in sorted(book.triggers):
        config, before = book.triggers[name], by_name.get(name)
        if not config.is_enabled:
            continue
        if before is not None and before.config == config:
            watches.append(before)
            continue
        try:
            watches.append(make_watch(config))
        except BadConfig as fault:
            faults.append(fault)
            watches += [before] if before is not None else []
    return tuple(watches), tuple(faults)
