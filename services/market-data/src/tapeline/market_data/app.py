"""Wiring of market-data: `feed` plays a feed to ticks, `bars` makes bars and marks of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tapeline.market_data.bars_stage import BarsStage
from tapeline.market_data.feed_app import open_feed, play
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime.derived import run_stages
from tapeline.runtime.settings import load_settings, main_guard
from tapeline.runtime.shell import Shell, run_service


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of both processes; returns the exit code."""
    parsed = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    if parsed.command == "bars":
        return main_guard(run_bars)
    values = {name: getattr(parsed, name) for name in ("feed", "speed", "rate")}
    return main_guard(lambda: run_feed(values, parsed.option))


def run_bars() -> int:
    """Runs ticks to bars until it is told to stop."""
    settings = load_settings(MarketDataSettings)
    return run_stages([BarsStage(settings.intervals_ns())], settings, "market-data-bars")


def run_feed(values: dict[str, Any], options: Sequence[str] = ()) -> int:
    """Plays the feed to its end, or until it is told to stop."""
    given = {name: value for name, value in values.items() if value is not None}
    if options:
        given["feed_options"] = dict(option.partition("=")[::2] for option in options)
    settings = load_settings(MarketDataSettings, **given)
    # Before anything is started: a wrong option or a malformed file must leave nothing behind.
    feed = open_feed(settings)

    async def run(shell: Shell) -> None:
        await play(feed, settings, shell)

    return run_service("market-data-feed", settings, run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tapeline.market_data", description="Market data of Tapeline."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    feed = commands.add_parser("feed", help="play a feed to ticks and macro readings")
    feed.add_argument("--feed", metavar="NAME", help="plug-in; TAPELINE_MARKET_DATA_FEED")
    feed.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="option of the plug-in"
    )
    feed.add_argument("--speed", type=float, help="real time: that much faster")
    feed.add_argument("--rate", type=float, help="real time: ticks a second")
    commands.add_parser("bars", help="make bars and marks of ticks")
    return parser
