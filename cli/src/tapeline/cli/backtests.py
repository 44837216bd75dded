"""Backtests of a whole configuration: what the options ask for, played and kept as tables."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tapeline.backtest.paced.feed_slices import FeedSlices, settings_of
from tapeline.backtest.paced.offline_model import offline_model
from tapeline.backtest.paced.run import Facts, PacedRun, run_paced
from tapeline.backtest.paced.setup import Choice, Known, MarketSlice, Setup
from tapeline.cli.configuration import Configuration, key_of, load_configuration
from tapeline.cli.overrides import pairs, with_groups, with_parameters, with_settings
from tapeline.cli.plan import intervals_of
from tapeline.cli.sources import PRESETS
from tapeline.contracts.config import GroupKind
from tapeline.runtime.exits import Failure
from tapeline.runtime.ids import content_id

FOLDER = "backtests"
OnSlice = Callable[[MarketSlice], None]


class BadBacktest(Failure):
    """The options contradict each other or the configuration."""

    exit_code = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options ask for, besides the source."""

    start: str = ""
    end: str = ""
    instruments: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    feed_options: tuple[str, ...] = ()
    run_id: str = ""
    """empty: made of what is played"""

    def choice(self) -> Choice:
        """The part of the data; raises BadBacktest."""
        start_ns, end_ns = moment_ns(self.start, 0), moment_ns(self.end, 2**63 - 1)
        if start_ns >= end_ns:
            raise BadBacktest(
                f"The time range from {self.start} to {self.end} is empty.",
                "--to must lie behind --from.",
            )
        return Choice(start_ns=start_ns, end_ns=end_ns, instruments=frozenset(self.instruments))

    def changed(self, configuration: Configuration) -> Configuration:
        """The configuration with what is overridden; raises BadOverride."""
        records = with_settings(configuration.records, pairs(self.settings, "--set"))
        records = with_parameters(records, pairs(self.parameters, "--param"))
        records = with_groups(records, self.groups)
        return Configuration(configuration.name, configuration.settings, records)

    def overrides(self) -> dict[str, str]:
        """What differs from the configuration, for the description."""
        listed = {"instruments": ",".join(self.instruments), "groups": ",".join(self.groups)}
        chosen = {"from": self.start, "to": self.end, **listed}
        changed = {**pairs(self.settings, "--set"), **pairs(self.parameters, "--param")}
        return {name: value for name, value in {**chosen, **changed}.items() if value}


def moment_ns(text: str, default: int) -> int:
    """Nanoseconds of an ISO 8601 date or time, UTC where it names no zone; raises BadBacktest."""
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadBacktest(
            f"{text!r} is no time.", "Write 2024-01-31 or 2024-01-31T09:30:00+00:00."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1_000


def played_preset(name: str, asked: Asked, on_slice: OnSlice) -> PacedRun:
    """Plays the data of a preset, or of a configuration file, in this process."""
    path = PRESETS / f"{name}.toml"
    configuration = asked.changed(load_configuration(path if path.is_file() else Path(name)))
    run_id = asked.run_id or f"backtest-{_identity(configuration, asked)}"
    options = pairs(asked.feed_options, "--feed-option")
    run = configuration.settings
    feed = settings_of(
        str(run.get("feed", "")), options, intervals_of(configuration), str(run.get("slice", ""))
    )
    partitions = int(run.get("instrument_partitions", 1))
    with models(configuration) as outside:
        setup = Setup(
            run_id=run_id,
            config=known_of(run_id, configuration),
            intervals_ns=feed.intervals_ns(),
            shards=tuple(range(int(run.get("shards", 1)))),
            instrument_partitions=partitions,
            feed=feed.feed,
            outside=outside,
        )
        facts = Facts(
            title=str(run.get("title", configuration.name)),
            source=f"preset {name}",
            parameters=asked.overrides(),
        )
        slices = FeedSlices(feed, run_id, partitions, asked.choice())
        return asyncio.run(run_paced(setup, slices, facts, on_slice))


@contextmanager
def models(configuration: Configuration) -> Iterator[dict[str, Any]]:
    """The offline model for the groups of language models, where there are some."""
    from tapeline.cli.plan import groups_of

    asking = [
        group.group_id for group, _ in groups_of(configuration) if group.kind is GroupKind.LLM
    ]
    if not asking:
        yield {}
        return
    with offline_model() as outside:
        yield dict.fromkeys(asking, outside)


def known_of(run_id: str, configuration: Configuration) -> tuple[Known, ...]:
    """The records as the topic config would hold them."""
    return tuple(
        Known(record=record, event_id=content_id(f"{run_id}/{key_of(record)}/{record.version}"))
        for record in configuration.records
    )


def saved(home: Path, run: PacedRun) -> Path:
    """Writes the run to its folder and gives that."""
    folder = home / FOLDER / run.tables.description.run_id
    run.tables.save(folder)
    return folder


def facts_of(run: PacedRun, folder: Path) -> dict[str, Any]:
    """What `--json` prints."""
    described = msgspec.to_builtins(run.tables.description)
    return {**described, "counts": run.counts, "digests": run.digests, "folder": str(folder)}


def _identity(configuration: Configuration, asked: Asked) -> str:
    """Of what is played: the same twice has the same ids."""
    what: Mapping[str, Any] = {
        "records": [repr(record) for record in configuration.records],
        "run": repr(sorted(configuration.settings.items())),
        "asked": asked.overrides(),
        "feed": asked.feed_options,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
