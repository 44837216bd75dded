"""What can be played: the presets, and which one a command's options mean."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from tapeline.cli.configuration import Configuration, load_configuration
from tapeline.cli.runs import Run
from tapeline.runtime import clock
from tapeline.runtime.exits import Failure

PRESETS = Path(__file__).parent / "presets"
DATA_VARIABLE = "TAPELINE_DATA_DIR"
INSTRUMENT_PARTITIONS = 2
ACCOUNT_PARTITIONS = 2


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


def chosen_source(
    *,
    synthetic: int | None = None,
    live: str = "",
    preset: Path | None = None,
    is_paced: bool = True,
) -> Source:
    """The source of a command's options; recorded ticks where TAPELINE_DATA_DIR points to some."""
    if preset is not None:
        return Source(stem=preset.stem, preset=preset, title="")
    if synthetic is not None:
        return Source(
            stem="synthetic",
            preset=PRESETS / "synthetic.toml",
            title=f"SYNTHETIC prices, made by a generator with seed {synthetic}",
            is_paced=is_paced,
            is_synthetic=True,
            feed_options={"TAPELINE_MARKET_DATA_FEED_OPTIONS": f'{{"seed": "{synthetic}"}}'},
        )
    if live:
        return Source(
            stem="live",
            preset=PRESETS / "live.toml",
            title=f"public trades of {live}, as they happen; paper orders only",
            is_paced=False,
            feed_options={"TAPELINE_MARKET_DATA_FEED_OPTIONS": f'{{"exchange": "{live}"}}'},
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


def new_run(source: Source, configuration: Configuration, name: str) -> Run:
    """A run of a source. Its run_id is made of what is played and with what configuration, so a
    second run of the same is comparable to the byte; a live run is like no other."""
    identity = hashlib.sha256(source.preset.read_bytes())
    identity.update(repr(sorted(source.feed_options.items())).encode())
    now_ns = clock.wall_ns()
    if not source.is_paced:
        identity.update(str(now_ns).encode())
    shards = tuple(range(ACCOUNT_PARTITIONS))
    return Run(
        name=name,
        run_id=f"{source.stem}-{identity.hexdigest()[:12]}",
        source=source.title or str(configuration.settings.get("title", source.stem)),
        preset=str(source.preset),
        feed=str(configuration.settings.get("feed", source.stem)),
        is_paced=source.is_paced,
        is_synthetic=source.is_synthetic,
        shards=shards,
        instrument_partitions=INSTRUMENT_PARTITIONS,
        account_partitions=ACCOUNT_PARTITIONS,
        started_ns=now_ns,
    )


def prepared(source: Source, stem_name: str) -> tuple[Run, Configuration]:
    """A source's configuration and a new run of it."""
    configuration = load_configuration(source.preset)
    return new_run(source, configuration, stem_name), configuration
