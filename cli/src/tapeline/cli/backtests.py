"""Backtests of a whole configuration: what the options ask for, played and kept as tables."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tapeline.backtest.data_check.findings import require_fit
from tapeline.backtest.data_check.slices import check_slices
from tapeline.backtest.paced.feed_slices import FeedSlices, settings_of
from tapeline.backtest.paced.offline_model import offline_model
from tapeline.backtest.paced.run import Facts, PacedRun, run_paced
from tapeline.backtest.paced.setup import Choice, Known, MarketSlice, Setup
from tapeline.backtest.strategies import offer_kept
from tapeline.backtest.tape.recorded_run import RecordedRun, pull_run
from tapeline.backtest.tape.store import OnPulled, Tape
from tapeline.backtest.tape.topic_slices import TopicSlices
from tapeline.cli.configuration import Configuration, key_of, load_configuration
from tapeline.cli.desk import desk
from tapeline.cli.home import home
from tapeline.cli.moments import moment_ns
from tapeline.cli.overrides import pairs, with_groups, with_parameters, with_settings
from tapeline.cli.plan import intervals_of
from tapeline.cli.runs import Run, RunStore, strategies_of
from tapeline.cli.sources import PRESETS
from tapeline.contracts.config import GroupKind, Instrument, TradingGroup
from tapeline.runtime.exits import Failure
from tapeline.runtime.ids import content_id

FOLDER = "backtests"
"""of a home"""
CONFIGURATION = "config.toml"
RECORDED, OFFLINE = "recorded", "offline"
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
    llm: str = ""
    """recorded or offline; empty: recorded for a run, offline for a preset"""
    accept_data_faults: bool = False
    """play data with errors, and say so"""

    def choice(self) -> Choice:
        """The part of the data; raises BadBacktest."""
        start_ns, end_ns = moment_ns(self.start, 0), moment_ns(self.end, 2**63 - 1)
        if start_ns >= end_ns:
            raise BadBacktest(
                f"The time range from {self.start} to {self.end} is empty.",
                "--to must lie behind --from.",
            )
        return Choice(start_ns=start_ns, end_ns=end_ns, instruments=frozenset(self.instruments))

    def changed(self, records: Sequence[Any]) -> tuple[Any, ...]:
        """The configuration with what is overridden; raises BadOverride."""
        records = with_settings(records, pairs(self.settings, "--set"))
        records = with_parameters(records, pairs(self.parameters, "--param"))
        return with_groups(records, self.groups)

    def command(self, source: str, name: str) -> str:
        """What to type to play the same again; `source` is run or preset."""
        words = ["tapeline", "backtest", f"--{source}", name]
        one = {
            "--from": self.start,
            "--to": self.end,
            "--instruments": ",".join(self.instruments),
            "--groups": ",".join(self.groups),
            "--llm": self.llm,
            "--run-id": self.run_id,
        }
        many = {
            "--set": self.settings,
            "--param": self.parameters,
            "--feed-option": self.feed_options,
        }
        words += [word for option, value in one.items() if value for word in (option, value)]
        pairs_of = [(option, value) for option, found in many.items() for value in found]
        words += [word for pair in pairs_of for word in pair]
        return shlex.join([*words, *(["--accept-data-faults"] if self.accept_data_faults else [])])

    def overrides(self) -> dict[str, str]:
        """What differs from the configuration, for the description."""
        listed = {"instruments": ",".join(self.instruments), "groups": ",".join(self.groups)}
        chosen = {"from": self.start, "to": self.end, **listed}
        changed = {**pairs(self.settings, "--set"), **pairs(self.parameters, "--param")}
        return {name: value for name, value in {**chosen, **changed}.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be played."""

    setup: Setup
    slices: AsyncIterable[MarketSlice]
    width_ns: int
    facts: Facts
    data: str
    """what the slices are made of: the same text, the same slices; empty: only they can tell"""
    strategies: Path | None = None
    """folder of the strategy files that the configuration names"""
    left_out: Callable[[], Sequence[str]] = tuple
    """what could not be used of the data, once the slices have been read"""

    @property
    def records(self) -> list[Any]:
        """The configuration."""
        return self.setup.records


def preset_source(name: str, asked: Asked) -> Source:
    """The data of a preset, or of a configuration file."""
    if asked.llm == RECORDED:
        raise BadBacktest("A preset has no recorded answers.", "Leave out --llm recorded.")
    path = PRESETS / f"{name}.toml"
    configuration = load_configuration(path if path.is_file() else Path(name))
    settings = configuration.settings
    records = asked.changed(configuration.records)
    run_id = asked.run_id or f"backtest-{_identity(settings, records, asked)}"
    feed = feed_settings(configuration, asked)
    partitions = int(settings.get("instrument_partitions", 1))
    setup = Setup(
        run_id=run_id,
        config=known_of(run_id, records),
        intervals_ns=feed.intervals_ns(),
        shards=tuple(range(int(settings.get("shards", 1)))),
        instrument_partitions=partitions,
        feed=feed.feed,
    )
    facts = Facts(
        title=str(settings.get("title", configuration.name)),
        source=f"preset {name}",
        command=asked.command("preset", name),
        parameters=asked.overrides(),
    )
    return Source(
        setup=setup,
        slices=FeedSlices(feed, run_id, partitions, asked.choice()),
        width_ns=feed.slice_ns(),
        facts=facts,
        data="",  # a feed may read files, which change under their names
    )


def played_preset(name: str, asked: Asked, on_slice: OnSlice) -> PacedRun:
    """Plays the data of a preset, or of a configuration file, in this process."""
    source = looked_at(preset_source(name, asked), asked)
    with models(source.records) as outside:
        setup = replace(source.setup, outside=outside)
        return asyncio.run(run_paced(setup, source.slices, source.facts, on_slice))


def looked_at(source: Source, asked: Asked) -> Source:
    """The same, with what a reader must know of its data; raises DataUnfit.

    The slices are read once more for it.
    """
    calendars = {
        record.instrument_id: record.calendar
        for record in source.records
        if isinstance(record, Instrument)
    }
    interval_ns, name = max(source.setup.intervals_ns), source.facts.source
    report = asyncio.run(check_slices(source.slices, calendars, interval_ns, name))
    warnings = require_fit(report, accept_faults=asked.accept_data_faults)
    told = (*source.facts.warnings, *source.left_out(), *warnings)
    facts = replace(source.facts, warnings=told)
    return replace(source, facts=facts)


def feed_settings(configuration: Configuration, asked: Asked) -> Any:
    """How the run's feed reads and cuts its data."""
    settings = configuration.settings
    return settings_of(
        str(settings.get("feed", "")),
        pairs(asked.feed_options, "--feed-option"),
        intervals_of(configuration),
        str(settings.get("slice", "")),
        slices_settle=bool(settings.get("slices_settle", False)),
    )


def pulled(name: str, on_pulled: OnPulled) -> tuple[Run, Tape]:
    """A recorded run and its tape, complete and checked; Kafka is asked where it is not yet."""
    store = RunStore(home())
    run = store.get(name)
    tape = Tape(store.tape_folder(run.name))
    tape.belong_to({"run_id": run.run_id, "started_ns": run.started_ns})
    if not tape.is_closed():
        with desk(run.name) as place:
            pull_run(tape, place.reader, on_pulled)
        if run.result:  # nothing more will be written
            tape.close()
    return run, tape


def run_source(name: str, asked: Asked, on_pulled: OnPulled) -> Source:
    """The market data of a recorded run, from its tape."""
    run, tape = pulled(name, on_pulled)
    folder = RunStore(home()).folder(run.name)
    configuration = load_configuration(folder / CONFIGURATION)
    recorded = RecordedRun(tape)
    feed = feed_settings(configuration, asked)
    setup = Setup(
        run_id="",
        config=recorded.known(),
        interventions=recorded.words.interventions,
        intervals_ns=feed.intervals_ns(),
        shards=run.shards,
        instrument_partitions=run.instrument_partitions,
        feed=run.feed,
    )
    setup = setup.with_records(asked.changed(setup.records))
    run_id = asked.run_id or f"backtest-{_identity({'run': run.name}, setup.records, asked)}"
    setup = replace(
        setup,
        run_id=run_id,
        interventions=recorded.meant_for(setup.interventions, (run.run_id, run_id)),
        outside={} if asked.llm == OFFLINE else recorded.outside(setup.records),
    ).during(asked.choice())
    facts = Facts(
        title=run.source,
        source=f"run {run.name}",
        command=asked.command("run", run.name),
        parameters=asked.overrides(),
        warnings=recorded.warnings(),
    )
    slices = TopicSlices(tape, feed.slice_ns(), asked.choice())
    return Source(
        setup=setup,
        slices=slices,
        left_out=slices.left_out,
        width_ns=feed.slice_ns(),
        facts=facts,
        data=f"run {run.name} {run.started_ns} {recorded.market_ends()}",
        strategies=strategies_of(folder),
    )


def played_run(name: str, asked: Asked, on_slice: OnSlice, on_pulled: OnPulled) -> PacedRun:
    """Plays the market data of a recorded run, from its tape."""
    source = looked_at(run_source(name, asked, on_pulled), asked)
    offer_kept(source.strategies)
    with models(source.records if asked.llm == OFFLINE else ()) as outside:
        setup = replace(source.setup, outside=outside or source.setup.outside)
        return asyncio.run(run_paced(setup, source.slices, source.facts, on_slice))


@contextmanager
def models(records: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The offline model for the groups of language models, where there are some."""
    asking = [
        record.group_id
        for record in records
        if isinstance(record, TradingGroup) and record.kind is GroupKind.LLM and record.is_enabled
    ]
    if not asking:
        yield {}
        return
    with offline_model() as outside:
        yield dict.fromkeys(asking, outside)


def known_of(run_id: str, records: Sequence[Any]) -> tuple[Known, ...]:
    """The records as the topic config would hold them."""
    return tuple(
        Known(record=record, event_id=content_id(f"{run_id}/{key_of(record)}/{record.version}"))
        for record in records
    )


def saved(folder: Path, run: PacedRun) -> Path:
    """Writes the run to its folder in a home and gives that."""
    place = folder / FOLDER / run.tables.description.run_id
    run.tables.save(place)
    return place


def facts_of(run: PacedRun, folder: Path) -> dict[str, Any]:
    """What `--json` prints."""
    described = msgspec.to_builtins(run.tables.description)
    return {**described, "counts": run.counts, "digests": run.digests, "folder": str(folder)}


def _identity(settings: Mapping[str, Any], records: Sequence[Any], asked: Asked) -> str:
    """Of what is played: the same twice has the same ids."""
    what: Mapping[str, Any] = {
        "records": [repr(record) for record in records],
        "run": repr(sorted(settings.items())),
        "asked": asked.overrides(),
        "feed": asked.feed_options,
        "llm": asked.llm,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
