"""A run in real time on the public trades of an exchange: a local one that speaks Binance's
endpoints over HTTP and WebSocket. An order by hand goes the whole way, and the run replays.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from proving.playing import Ground, environment

from tapeline.backtest.run_replay import replay_run
from tapeline.cli import proofs
from tapeline.cli.commands.act import decide, manual_decision
from tapeline.cli.desk import Desk
from tapeline.cli.session import Session
from tapeline.cli.sources import PRESETS, Source, feed_options, prepared
from tapeline.cli.strategy_source import Wanted, prepared_strategy
from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.market import Trade
from tapeline.contracts.orders import ApprovedOrder, Fill, Side
from tapeline.contracts.system import Consumed, Watermark
from tapeline.runtime import clock

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
ROOT = Path(__file__).parents[2]
SERVER = ROOT / "services/market-data/tests/feeds/exchange_server.py"
INSTRUMENT = "XRPETH.BINANCE"
LIMIT_S = 150.0
TRADE_S = 0.1


def exchange_class() -> Any:
    """The exchange of the feed's own tests."""
    spec = importlib.util.spec_from_file_location("market_data_exchange_server", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Exchange


@contextmanager
def exchange() -> Iterator[str]:
    """An exchange on which somebody trades ten times a second; gives host and port."""

    is_over = threading.Event()

    class Market(exchange_class()):  # type: ignore[misc]
        async def _follow(self, socket: Any) -> None:
            while not is_over.is_set():
                number = len(self.trades)
                self.trades.append(
                    {
                        "id": number,
                        "price": f"{500 + number % 7}.25",
                        "qty": "40.0",
                        "time": clock.wall_ns() // 1_000_000,
                        "isBuyerMaker": number % 2 == 0,
                    }
                )
                self.published = len(self.trades)
                with suppress(ConnectionError):
                    await socket.send_json(self._event(number))
                await asyncio.sleep(TRADE_S)

    market = Market(trades=[], books=[("500.0", "500.5")])
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(market.start(), loop).result(10)
    try:
        yield market.url
    finally:
        # A subscriber that has gone is not noticed by who only sends to it.
        is_over.set()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(70)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def live_source(url: str, folder: Path) -> Source:
    """What `--live binance` plays, of the local exchange."""
    preset = folder / "live.toml"
    text = (PRESETS / "live.toml").read_text().replace("BTCUSDT", "XRPETH")
    # Real time on a busy machine: the bounds on ages have tests of their own.
    preset.write_text(text.replace('approval_ttl_ns = "5s"', 'approval_ttl_ns = "60s"'))
    return Source(
        stem="live",
        preset=preset,
        title="public trades of a local exchange",
        is_paced=False,
        exchange="binance",
        feed_options=local(url),
    )


def local(url: str) -> dict[str, str]:
    """Options of the feed by which it takes the local exchange for Binance."""
    return feed_options(
        exchange="binance",
        symbols="XRP/ETH",
        http_url=f"http://{url}",
        websocket_url=f"ws://{url}",
        config='{"options": {"fetchMarkets": {"types": ["spot"]}}}',
    )


def until(session: Session, condition: Callable[[], bool]) -> None:
    """Keeps the services up until the condition holds."""
    deadline_s = clock.monotonic_s() + LIMIT_S

    def holds() -> bool:
        assert clock.monotonic_s() < deadline_s, "it does not come about"
        return condition()

    session.watch(holds, pause_s=0.5)


def risk_has_heard(place: Desk, topic: str) -> bool:
    """Whether a mark is on its topic says nothing of who has read it."""
    return any(
        consumed.topic == topic and consumed.count
        for found in place.records.all(topics.JOURNAL, Consumed)
        if found.record.service == "risk"
        for batch in found.record.batches
        for consumed in batch.ranges
    )


@pytest.mark.timeout(1800)
def test_a_live_run_fills_an_order_at_the_exchanges_price_and_replays(
    ground: Ground, tmp_path: Path
) -> None:
    servers = {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
        "TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX": "60000",
    }
    with exchange() as url, environment(servers):
        source = live_source(url, tmp_path)
        run, configuration = prepared(ground.home, source, f"live-{ground.token}")
        session = Session(ground.home, run, configuration, feed_options=source.feed_options)
        with session:
            assert session.stack.endpoints is not None
            place = Desk(run, session.stack.endpoints, session.folder, ground.home, True)
            # Its first watermark says that execution is up; before that approvals run out.
            until(session, lambda: bool(place.records.all(topics.FILLS, Watermark)))
            until(session, lambda: risk_has_heard(place, topics.MARKS))
            decision = manual_decision(
                run.run_id,
                "PAPER-1",
                kind=DecisionKind.ORDER,
                instrument_id=INSTRUMENT,
                side=Side.BUY,
                quantity=Decimal(3),
            )
            answer = decide(place, decision)
            assert isinstance(answer, ApprovedOrder), answer
            until(session, lambda: bool(place.records.all(topics.FILLS, Fill)))
            [fill] = [item.record for item in place.records.all(topics.FILLS, Fill)]
            ticks = [item.record for item in place.records.all(topics.TICKS, Trade)]
            time.sleep(2)  # what follows from the fill is on its way
            session.supervisor.stop()
            settings = session.kafka_settings(session.stack.endpoints)
    assert fill.decision_id == decision.decision_id
    assert fill.quantity == Decimal(3)
    assert all(tick.instrument_id == INSTRUMENT for tick in ticks)
    assert min(tick.price for tick in ticks) * 0.99 < fill.price < 1.01 * 507
    replay = asyncio.run(replay_run(settings, run.run_id, run.shards))
    assert replay.differences == ()
    assert replay.is_equal


STRATEGY = """
from dataclasses import dataclass
from tapeline.agents.trigger import JsonState, Opinion
from tapeline.contracts.agents import Direction

@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    count: int = 0

@dataclass(frozen=True, slots=True, kw_only=True)
class Turner(JsonState[Seen]):
    name: str
    interval_ns: int
    state_type = Seen

    def initial(self):
        return Seen()

    def is_warm(self, state):
        return True

    def step(self, state, reading):
        count = state.count + 1
        way = Direction.LONG if count % 2 else Direction.SHORT
        return Seen(count=count), Opinion(
            direction=way, confidence=1.0, horizon_ns=10**11, reason="it turns"
        )
"""


@pytest.mark.timeout(1800)
def test_a_strategy_file_follows_an_exchange_and_replays(ground: Ground, tmp_path: Path) -> None:
    mine = tmp_path / f"turner_{ground.token}.py"
    mine.write_text(STRATEGY)
    servers = {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
        "TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX": "60000",
    }
    wanted = Wanted(path=mine, interval="4s", instruments=("XRP/ETH",), live="binance")
    with exchange() as url, environment(servers):
        run, configuration, source = prepared_strategy(ground.home, wanted)
        assert not source.is_paced
        session = Session(ground.home, run, configuration, feed_options=local(url))
        with session:
            assert session.stack.endpoints is not None
            place = Desk(run, session.stack.endpoints, session.folder, ground.home, True)
            until(session, lambda: len(place.records.all(topics.FILLS, Fill)) > 2)
            fills = [item.record for item in place.records.all(topics.FILLS, Fill)]
            time.sleep(2)  # what follows from the fills is on its way
            session.supervisor.stop()
            settings = session.kafka_settings(session.stack.endpoints)
    sides = [fill.side for fill in fills]
    assert all(fill.instrument_id == INSTRUMENT for fill in fills)
    assert all(one is not other for one, other in pairwise(sides)), "it turns each time"
    replay = proofs.replay(run, settings, session.folder)
    assert replay.differences == ()
    assert replay.is_equal
