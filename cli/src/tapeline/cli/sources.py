"""What can be played: the presets, and which one a command's options mean."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tapeline.cli.configuration import Configuration, parse_configuration, read_text
from tapeline.cli.runs import Run, RunStore
from tapeline.runtime import clock
from tapeline.runtime.exits import Failure

PRESETS = Path(__file__).parent / "presets"
DATA_VARIABLE = "TAPELINE_DATA_DIR"
PARTITIONS_MAX = 64
LIVE_SYMBOLS = ("BTC/USDT", "ETH/USDT")


class BadSource(Failure):
    """What should be played cannot be."""

    exit_code = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something to play."""

    stem: str
    """of the run's name"""
    preset: Path
    title: str
    is_paced: bool = True
    is_synthetic: bool = False
    feed_options: dict[str, str] = field(default_factory=dict)
    """environment of the feed"""
    exchange: str = ""
    """live: stands where the preset says EXCHANGE"""
    text: str = ""
    """the preset with its blanks filled in; empty: as the file has it"""


def chosen_source(
    *,
    synthetic: int | None = None,
    live: str = "",
    preset: Path | None = None,
    is_paced: bool = True,
) -> Source:
    """The source of a command's options; recorded ticks where TAPELINE_DATA_DIR points to some."""
    if preset is not None:
        if not preset.is_file():
            raise BadSource(f"There is no file {preset}.", "Give the path of a configuration.")
        return Source(stem=preset.stem, preset=preset, title="")
    if synthetic is not None:
        return Source(
            stem="synthetic",
            preset=PRESETS / "synthetic.toml",
            title=f"SYNTHETIC prices, made by a generator with seed {synthetic}",
            is_paced=is_paced,
            is_synthetic=True,
            # Paced it is an hour of event time; in real time it has no end.
            feed_options=feed_options(seed=str(synthetic), seconds="3600" if is_paced else "0"),
        )
    if live:
        return Source(
            stem="live",
            preset=PRESETS / "live.toml",
            title=f"public trades of {live}, as they happen; paper orders only",
            is_paced=False,
            exchange=live,
            feed_options=feed_options(exchange=live, symbols=",".join(LIVE_SYMBOLS)),
        )
    folder = os.environ.get(DATA_VARIABLE, "")
    if folder:
        if not Path(folder).is_dir():
            raise BadSource(
                f"{DATA_VARIABLE} is {folder}, which is no folder.",
                "Point it to a folder of recorded data, or unset it for the built-in demo.",
            )
        return Source(stem="ticks", preset=PRESETS / "recorded.toml", title="")
    return Source(stem="demo", preset=PRESETS / "econometrics.toml", title="")


def feed_options(**options: str) -> dict[str, str]:
    """Options of the feed as its environment."""
    return {"TAPELINE_MARKET_DATA_FEED_OPTIONS": json.dumps(options)}


def prepared(home: Path, source: Source, stem: str, name: str = "") -> tuple[Run, Configuration]:
    """A new run of a source, under the first free name where none is given. Its folder keeps the
    configuration, so that it can be played again.

    The run_id is made of what is played and with what configuration, so that a second run of the
    same is comparable to the byte; a run in real time is like no other.
    """
    store = RunStore(home)
    name = name or store.new_name(stem)
    text = source.text or read_text(source.preset)
    if source.exchange:
        text = text.replace("EXCHANGE", source.exchange.upper())
    configuration = parse_configuration(text, source.preset)
    run = _new_run(source, configuration, name, text)
    path = store.folder(name) / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    store.save(run)
    return run, configuration


def _new_run(source: Source, configuration: Configuration, name: str, text: str) -> Run:
    # Commands that start no run must not wait for the cores.
    from tapeline.backtest.execution_rules import rules_of_environment

    options = repr(sorted(source.feed_options.items()))
    now_ns = clock.wall_ns()
    moment = "" if source.is_paced else str(now_ns)
    shards = _count(configuration, "shards")
    identity = hashlib.sha256(f"{text}{options}{moment}".encode()).hexdigest()[:12]
    return Run(
        name=name,
        run_id=f"{source.stem}-{identity}",
        source=source.title or str(configuration.settings.get("title", source.stem)),
        preset=str(source.preset),
        feed=str(configuration.settings.get("feed", source.stem)),
        is_paced=source.is_paced,
        is_synthetic=source.is_synthetic,
        shards=tuple(range(shards)),
        instrument_partitions=_count(configuration, "instrument_partitions"),
        account_partitions=shards,
        started_ns=now_ns,
        execution_rules=rules_of_environment(),
    )


def _count(configuration: Configuration, name: str) -> int:
    """A number of partitions from the table [run]; 1 where it is not given."""
    value = configuration.settings.get(name, 1)
    if not isinstance(value, int) or not 1 <= value <= PARTITIONS_MAX:
        raise BadSource(
            f"{configuration.name}: {name} is {value!r}.",
            f"A whole number from 1 to {PARTITIONS_MAX} is expected.",
        )
    return value
