"""`tapeline backtest --trades|--bars FILE`: one strategy over one file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tapeline.cli import assumed
from tapeline.cli.commands.options import print_line
from tapeline.cli.home import home
from tapeline.cli.screen import console
from tapeline.runtime.exits import USAGE, Failure

if TYPE_CHECKING:
    from tapeline.backtest.engine.loading import Care, Source
    from tapeline.backtest.engine.outcome import Outcome
    from tapeline.backtest.engine.rows import Span
    from tapeline.backtest.engine.setup import Costs, Setup

SLIPPAGES = ("none", "model")
FILLS = ("next-tick", "next-open")
OPTIONS = {"parameters": "--param", "start": "--from", "end": "--to"}
"""Fields that are named otherwise."""


class BadOption(Failure):
    """An option of the command has a value that means nothing."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of a backtest over one file, as they were given."""

    trades: Path | None
    bars: Path | None
    start: str
    end: str
    instrument: str
    strategy: str
    parameters: Sequence[str]
    interval: str
    fee_taker: str
    slippage: str
    fill: str
    quantity: str
    cash: str
    drawdown_max: str
    daily_loss_max: str
    columns: Sequence[str]
    time_format: str
    scalar: bool
    calendar: str
    accept_data_faults: bool


def run(asked: Asked, *, is_json: bool) -> None:
    """Runs, saves, and says what came of it; raises BadOption and what the engine raises."""
    outcome, folder = played(asked)
    _show(outcome, folder, is_json=is_json)


def played(asked: Asked) -> tuple[Outcome, Path]:
    """A run and the folder where it is saved; raises BadOption and what the engine raises."""
    from tapeline.backtest.engine.run import run_file

    source = source_of(asked)
    _require(
        asked.fill in ("", *FILLS),
        f"--fill {asked.fill} is unknown.",
        f"It is {' or '.join(FILLS)}.",
    )
    outcome = run_file(setup_of(asked), source, is_scalar=asked.scalar, care=care_of(asked))
    folder = home() / "backtests" / outcome.setup.run_id
    tables = outcome.tables(str(asked.trades or asked.bars), title_of(outcome.setup))
    described = msgspec.structs.replace(tables.description, command=command_of(asked))
    replace(tables, description=described).save(folder)
    return outcome, folder


def title_of(setup: Setup) -> str:
    """For people."""
    return f"{setup.strategy} on {setup.instrument_id}"


def care_of(asked: Asked) -> Care:
    """How the data is looked at."""
    from tapeline.backtest.engine.loading import Care

    return Care(calendar=asked.calendar, accept_faults=asked.accept_data_faults)


def command_of(asked: Asked) -> str:
    """What to type to make the same run again; options that are empty are left out."""
    words = ["tapeline", "backtest"]
    for name in fields(Asked):
        value = getattr(asked, name.name)
        option = OPTIONS.get(name.name, f"--{name.name.replace('_', '-')}")
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, str | Path):
            words += [option, str(value)] if str(value) else []
        else:
            words += [word for one in value or () for word in (option, one)]
    return shlex.join(words)


def setup_of(asked: Asked) -> Setup:
    """What is asked of the engine; raises BadOption."""
    from tapeline.backtest.engine.setup import Setup, interval_ns_of

    _require(
        bool(asked.instrument),
        "The instrument of the file is not named.",
        "Name it with --instrument, such as BTCUSD.SIM.",
    )
    return Setup(
        instrument_id=asked.instrument,
        strategy=asked.strategy,
        parameters=_pairs(asked.parameters, "--param"),
        interval_ns=interval_ns_of(asked.interval),
        quantity=_number("--quantity", asked.quantity, is_positive=True),
        cash=_number("--cash", asked.cash, is_positive=True),
        costs=_costs(asked.fee_taker, asked.slippage),
        drawdown_max=_share("--drawdown-max", asked.drawdown_max),
        daily_loss_max=_share("--daily-loss-max", asked.daily_loss_max),
    )


def _show(outcome: Outcome, folder: Path, *, is_json: bool) -> None:
    facts = {**outcome.facts(), "folder": str(folder)}
    if is_json:
        print_line(facts)
        return
    out = console(is_json=False)
    gain = float(outcome.final_equity / outcome.setup.cash - 1)
    out.print(f"{title_of(outcome.setup)}: {facts['events']:,} events, {facts['bars']:,} bars")
    out.print(
        f"  orders {facts['orders']:,}, denied {facts['denials']:,}, fills {facts['fills']:,}, "
        f"fees {facts['fees']:,.2f}"
    )
    change = f"{gain:+.2%}" if abs(gain) >= 0.00005 or not gain else f"{gain * 100:+.2g}%"
    out.print(f"  equity {facts['final_equity']:,.2f} ({change}) after fees")
    out.print(
        f"  loaded in {facts['load_seconds']:.2f} s, run in {facts['engine_seconds']:.2f} s, "
        f"{facts['peak_rss_mb']:.0f} MB"
    )
    for warning in outcome.warnings:
        out.print(f"  ! {warning}", markup=False, style="yellow")
    for line in assumed.lines(outcome.assumptions()):
        out.print(line, markup=False, highlight=False)
    out.print(f"  digest {facts['digest']}")
    out.print(f"  saved in {facts['folder']}")
    out.print(f"  figures and charts: tapeline report {facts['run_id']}")


def source_of(asked: Asked) -> Source:
    """The file; raises BadOption, MarketUnusable."""
    from tapeline.backtest.engine.loading import Source
    from tapeline.backtest.engine.prepared_file import prepared
    from tapeline.backtest.engine.rows import BAR_COLUMNS, TRADE_COLUMNS

    path = asked.trades or asked.bars
    if path is None or (asked.trades is not None and asked.bars is not None):
        raise BadOption(
            "A backtest reads either trades or bars.", "Give one of --trades FILE and --bars FILE."
        )
    listed = [pair for text in asked.columns for pair in text.split(",") if pair]
    mapping = _pairs(listed, "--columns")
    time = (TRADE_COLUMNS if asked.bars is None else BAR_COLUMNS)[0]
    path = prepared(path, mapping.get(time, time), asked.time_format, home() / "tape" / "files")
    span = _span(asked.start, asked.end)
    return Source(path=path, is_bars=asked.bars is not None, columns=mapping, span=span)


def _span(start: str, end: str) -> Span:
    from tapeline.backtest.engine.rows import Span
    from tapeline.cli.moments import moment_ns

    found = Span(
        start_ns=moment_ns(start, 0) if start else None, end_ns=moment_ns(end, 0) if end else None
    )
    if found.start_ns is not None and found.end_ns is not None:
        _require(
            found.start_ns < found.end_ns,
            f"From {start} to {end} is no time.",
            "--to must lie behind --from.",
        )
    return found


def _costs(fee_taker: str, slippage: str) -> Costs:
    from tapeline.backtest.engine.setup import MODEL_HALF_SPREAD, MODEL_PARTICIPATION, Costs

    _require(
        slippage in SLIPPAGES,
        f"--slippage {slippage} is unknown.",
        f"It is {' or '.join(SLIPPAGES)}.",
    )
    fee = _number("--fee-taker", fee_taker)
    _require(
        fee < 1,
        f"--fee-taker {fee_taker} is no share of a value.",
        "Write 0.001 for a tenth of a percent.",
    )
    if slippage == "none":
        return Costs(taker_fee_rate=fee)
    return Costs(
        taker_fee_rate=fee,
        half_spread_rate=MODEL_HALF_SPREAD,
        participation_max=MODEL_PARTICIPATION,
    )


def _pairs(listed: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for text in listed:
        name, equals, value = text.partition("=")
        _require(
            bool(name and equals and value),
            f"{option} {text} is no name=value.",
            f"Write it as {option} name=value.",
        )
        found[name.strip()] = value.strip()
    return found


def _share(option: str, text: str) -> Decimal | None:
    if not text:
        return None
    value = _number(option, text, is_positive=True)
    _require(
        value < 1,
        f"{option} {text} is no share: nothing loses more than all it has.",
        f"Write 0.2 for a fifth, not 20: {option} is above 0 and below 1.",
    )
    return value


def _number(option: str, text: str, *, is_positive: bool = False) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    is_right = value.is_finite() and (value > 0 or (value == 0 and not is_positive))
    wanted = "a number above 0" if is_positive else "a number from 0"
    _require(is_right, f"{option} {text} is not {wanted}.", f"Give {option} {wanted}.")
    return value


def _require(is_right: bool, cause: str, remedy: str) -> None:
    if not is_right:
        raise BadOption(cause, remedy)
