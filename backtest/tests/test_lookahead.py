"""Strategies that know the future are found, each by its own trick; ours are clean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tapeline.agents import group, plugins
from tapeline.agents.config_book import book_of
from tapeline.agents.group import Cycle, GroupResult, GroupSetup, TargetWish, target_decision
from tapeline.agents.strategy_file import load_strategy_file
from tapeline.backtest.engine.market import load_trades
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.lookahead.chain import said_over
from tapeline.backtest.lookahead.detector import Check, Lookahead, _differences, look
from tapeline.backtest.lookahead.history import History, history_of_file, sliced
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import GroupKind, TradingGroup, Trigger
from tapeline.contracts.market import Bar, MacroReading, TickOrigin

MINUTE_NS = 60_000_000_000
NAME = "BTC.SIM"
HONEST = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
import numpy as np

from tapeline.agents.indicators import Window
from tapeline.agents.trigger import JsonState, Opinion, Reading
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar

SEEN: dict[int, float] = {{}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine(JsonState[Window]):
    name: str
    interval_ns: int
    state_type: ClassVar[type] = Window

    def initial(self) -> Window:
        return Window(size=3)

    def is_warm(self, state: Window) -> bool:
        return state.is_full

    def step(self, state: Window, reading: Reading) -> tuple[Window, Opinion | None]:
        assert isinstance(reading, Bar)
        closes = state.push(reading.close)
        if not closes.is_full:
            return closes, None
        is_rising = closes.values[-1] > closes.values[0]
        {peek}
        return closes, Opinion(
            direction=Direction.LONG if is_rising else Direction.SHORT,
            confidence=0.6,
            expected_return=0.01,
            horizon_ns=self.interval_ns,
            reason="It goes on.",
        )
    {more}
"""
MEMORY = """SEEN[reading.ts_event_ns] = reading.close
        later = SEEN.get(reading.ts_event_ns + self.interval_ns)
        is_rising = is_rising if later is None else later > reading.close"""
FILE = """later = float(Path(r"{path}").read_text())
        is_rising = later > reading.close"""
OBJECT = "COUNTS.append(1); is_rising = len(COUNTS) % 2 == 0"
SHIFTED = """
    def directions(self, closes: Any) -> Any:
        later = np.append(closes[1:], closes[-1])
        found = np.where(later > closes, 1, -1).astype(np.int8)
        found[:2] = 2
        return found
"""


def bars_of(closes: Sequence[float]) -> list[Bar]:
    """One-minute bars."""
    return [
        Bar(
            instrument_id=NAME,
            feed="test",
            interval_ns=MINUTE_NS,
            ts_open_ns=number * MINUTE_NS,
            open=close,
            high=close,
            low=close,
            close=close,
            volume=1.0 + number % 3,
            tick_count=1,
            late_count=0,
            is_complete=True,
            origin=TickOrigin.EXCHANGE,
            ts_event_ns=(number + 1) * MINUTE_NS,
            ts_init_ns=(number + 1) * MINUTE_NS,
        )
        for number, close in enumerate(closes)
    ]


def walk(count: int = 120, seed: int = 4) -> list[float]:
    """A random walk of prices."""
    steps = np.random.default_rng(seed).normal(0, 0.01, count)
    return [round(float(price), 2) for price in 100 * np.exp(np.cumsum(steps))]


def history_of(strategy: str, parameters: dict[str, str] | None = None) -> History:
    """A strategy and the group that follows it."""
    setup = Setup(instrument_id=NAME, strategy=strategy, parameters=parameters or {})
    book = book_of((*setup.records(), setup.trigger()))
    return History(run_id="r", book=book, slices=sliced(bars_of(walk())))


def looked_at(folder: Path, *, peek: str = "pass", more: str = "", head: str = "") -> Lookahead:
    """The strategy of the text, with what is planted in it."""
    path = folder / "mine.py"
    path.write_text(head + HONEST.format(peek=peek, more=more))
    strategy = load_strategy_file(path)
    strategy.offer()
    return look(history_of(strategy.implementation_name))


def checks_of(found: Lookahead) -> set[Check]:
    """What was found."""
    return {finding.check for finding in found.findings}


def test_an_honest_file_is_clean(tmp_path: Path) -> None:
    found = looked_at(tmp_path)
    assert found.findings == ()
    assert found.is_clean
    assert found.signals > 100
    assert found.decisions > 10
    assert found.cuts >= 12
    assert any(name.startswith("trigger mine@") for name in found.checked)
    assert "group flip" in found.checked


def test_a_shift_in_the_vectorised_form_is_found(tmp_path: Path) -> None:
    found = looked_at(tmp_path, more=SHIFTED)
    assert checks_of(found) == {Check.TWIN}
    assert any(finding.cut_ns for finding in found.findings), "by a truncated history"
    assert any(not finding.cut_ns for finding in found.findings), "and by steps"


def test_a_memory_beside_the_state_is_found(tmp_path: Path) -> None:
    found = looked_at(tmp_path, peek=MEMORY)
    assert Check.TRUNCATED in checks_of(found)
    assert all(finding.who.startswith("trigger mine@") for finding in found.findings)


def test_a_state_that_is_not_kept_is_found(tmp_path: Path) -> None:
    found = looked_at(tmp_path, peek=OBJECT, head="COUNTS: list[int] = []\n")
    assert Check.KEPT in checks_of(found)


def test_a_look_into_a_file_is_found_and_named(tmp_path: Path) -> None:
    data = tmp_path / "future.txt"
    data.write_text("100.0")
    found = looked_at(tmp_path, peek=FILE.format(path=data))
    assert checks_of(found) == {Check.OUTSIDE}
    assert "future.txt" in found.findings[0].other


@pytest.mark.parametrize(("bars_behind_the_cut", "found"), [(0, 1), (1, 0)])
def test_what_is_said_otherwise_on_the_last_bar_of_a_cut_is_found(
    bars_behind_the_cut: int, found: int
) -> None:
    history = history_of("sma_cross", {"fast": "2", "slow": "5"})
    part = history.until(60)
    whole, other = asyncio.run(said_over(history)), asyncio.run(said_over(history))
    assert _differences(Check.TRUNCATED, whole, other, part, part.times[-1]) == []
    ts_ns = part.times[-1] + bars_behind_the_cut * MINUTE_NS
    (key,) = [key for key in other.signals if key[2] == ts_ns]
    other.signals[key] = replace(other.signals[key], confidence=0.123)
    differing = _differences(Check.TRUNCATED, whole, other, part, part.times[-1])
    assert [finding.ts_ns for finding in differing] == [ts_ns] * found


class Oracle:
    """A group that remembers the prices of an earlier run."""

    prices: dict[int, float] = {}  # noqa: RUF012  # what is planted

    def __init__(self, setup: GroupSetup) -> None:
        self._setup = setup

    async def decide(self, cycle: Cycle) -> GroupResult:
        decisions: list[Decision] = []
        for signal in cycle.signals:
            self.prices[signal.ts_event_ns] = signal.price
            later = self.prices.get(signal.ts_event_ns + MINUTE_NS)
            weight = Decimal(0 if later is None else 1 if later > signal.price else -1)
            wish = TargetWish(
                instrument_id=signal.instrument_id,
                target_weight=weight,
                confidence=1.0,
                reference_price=signal.price,
                reason="It knows.",
            )
            decisions.append(target_decision(self._setup, cycle, len(decisions), wish))
        return GroupResult(decisions=tuple(decisions))


def test_a_group_that_knows_the_future_is_found_and_its_trigger_is_not_blamed() -> None:
    plugins.offer(group.ENTRY_POINTS, "oracle", Oracle)
    history = history_of("sma_cross", {"fast": "2", "slow": "5"})
    flip = history.book.groups["flip"]
    oracle = TradingGroup(
        **{
            **{name: getattr(flip, name) for name in flip.to_avro()},
            "group_id": "oracle",
            "implementation": "oracle",
            "parameters": {"cycle_interval_ns": "0"},
        }
    )
    found = look(History(run_id="r", book=history.book.with_record(oracle), slices=history.slices))
    assert {finding.who for finding in found.findings} == {"group oracle"}
    assert Check.TRUNCATED in checks_of(found)


OURS: list[tuple[str, dict[str, str]]] = [
    ("sma_cross", {"fast": "3", "slow": "8"}),
    ("rsi_reversal", {"period": "5"}),
    ("breakout", {"entry": "8", "exit": "4"}),
    ("market_summary", {"sma": "10", "rsi": "7", "volatility": "10"}),
]


@pytest.mark.parametrize(("name", "parameters"), OURS)
def test_our_triggers_are_clean(name: str, parameters: dict[str, str]) -> None:
    found = look(history_of(name, parameters))
    assert found.findings == ()
    assert found.signals > 20
    assert found.left_out == ()


def test_the_algorithmic_group_and_the_macro_trigger_are_clean() -> None:
    base = history_of("sma_cross", {"fast": "3", "slow": "8"})
    flip = base.book.groups["flip"]
    fields: dict[str, Any] = {name: getattr(flip, name) for name in flip.to_avro()}
    weighing = TradingGroup(
        **{
            **fields,
            "group_id": "trend",
            "kind": GroupKind.ALGORITHMIC,
            "implementation": "algorithmic",
            "target_weight": Decimal("0.5"),
            "parameters": {"cycle_interval_ns": "0"},
        }
    )
    regime = Trigger(
        trigger="market_regime",
        implementation="market_regime",
        universe=flip.universe,
        instruments=(),
        interval_ns=0,
        parameters={},
        is_enabled=True,
        version=1,
    )
    macro = [
        MacroReading(
            series="VIX",
            feed="test",
            feed_sequence=number,
            value=15.0 + number % 20,
            ts_event_ns=number * 5 * MINUTE_NS,
            ts_init_ns=number * 5 * MINUTE_NS,
        )
        for number in range(1, 24)
    ]
    history = History(
        run_id="r",
        book=base.book.with_record(weighing).with_record(regime),
        slices=sliced([*bars_of(walk()), *macro]),
    )
    found = look(history)
    assert found.findings == ()
    assert {"trigger market_regime", "group trend", "group flip"} <= set(found.checked)
    assert found.decisions > 20


def test_warm_up_tells_how_long_a_trigger_remembers() -> None:
    found = look(history_of("sma_cross", {"fast": "3", "slow": "8"}))
    assert [item.start for item in found.warm_ups] == [30, 60, 90]
    # A window of eight closes: the same as soon as it is full.
    assert {item.agreed_after for item in found.warm_ups} == {7}
    slow = look(history_of("rsi_reversal", {"period": "14"}))
    assert all(item.compared > 0 for item in slow.warm_ups)


def test_a_file_of_trades_is_a_history(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    prices = walk(600)
    times = [number * 10_000_000_000 for number in range(600)]
    pl.DataFrame({"ts_event_ns": times, "price": prices, "size": [1.0] * 600}).write_parquet(path)
    setup = Setup(instrument_id=NAME, strategy="sma_cross", parameters={"fast": "2", "slow": "5"})
    found = look(history_of_file(setup, load_trades(path, {}, MINUTE_NS)))
    assert found.readings == 99
    assert found.is_clean
