"""The adverse adapter keeps the rules of all adapters, and calls nothing by the wrong name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from adverse_process import AdverseVenue
from adverse_venue.adapter import AdverseAdapter

from tapeline.contracts.config import Venue
from tapeline.contracts.orders import CommandKind, ReportKind, TradeBust, VenueReport
from tapeline.execution.venues.conformance import CHECKS, Bench, Check
from tapeline.execution.venues.interface import (
    AdapterContext,
    VenueThrottled,
    VenueUnavailable,
    adapter_factory,
)

SETTLE_S = 0.15


@dataclass(kw_only=True)
class AdverseBench(Bench):
    """The adapter on a venue of its own."""

    running: AdverseVenue
    queue: list[VenueReport] = field(default_factory=list)

    async def move_market(self, price: Decimal) -> None:
        await asyncio.to_thread(self.running.market, SYNA_X=str(price))

    async def streamed(self) -> Sequence[VenueReport]:
        await asyncio.sleep(SETTLE_S)
        heard, self.queue = self.queue, []
        return heard

    async def submit(self, command: Any) -> None:
        # The stream says everything; the answer says it again, under the same ids.
        self._note(await self.adapter.submit(command))
        await self.listen()

    async def cancel(self, command: Any) -> None:
        self._note(await self.adapter.cancel(command))
        await self.listen()

    def _note(self, said: Sequence[VenueReport]) -> None:
        seen = {report.report_id for report in self.heard}
        self.heard += [report for report in said if report.report_id not in seen]

    async def listen(self) -> None:
        seen = {report.report_id for report in self.heard}
        for report in await self.streamed():
            if report.report_id not in seen:
                seen.add(report.report_id)
                self.heard.append(report)

    def now_ns(self) -> int:
        return time.time_ns()


def record(running: AdverseVenue) -> Venue:
    zero = Decimal(0)
    return Venue(
        venue="ADVERSE",
        adapter="adverse",
        maker_fee_rate=zero,
        taker_fee_rate=zero,
        half_spread_rate=zero,
        latency_ns=0,
        participation_max=zero,
        version=1,
        address=f"{running.address}?timeout_s=0.3",
    )


@asynccontextmanager
async def bench(running: AdverseVenue) -> AsyncIterator[AdverseBench]:
    adapter = AdverseAdapter(
        AdapterContext(
            run_id="run-1", venue=record(running), instruments=(), accounts=(), now_ns=time.time_ns
        )
    )
    made = AdverseBench(
        adapter=adapter,
        account_id="a1",
        instrument_id="SYNA.X",
        venue="ADVERSE",
        run_id="run-1",
        quantity=Decimal(10),
        price=Decimal(100),
        running=running,
    )

    async def hear() -> None:
        async for report in adapter.stream("a1"):
            assert isinstance(report, VenueReport)
            made.queue.append(report)

    task = asyncio.create_task(hear())
    await asyncio.sleep(SETTLE_S)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await adapter.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_adverse_adapter_conforms(check: Check, venue: AdverseVenue) -> None:
    async with bench(venue) as made:
        await check(made)


def test_it_is_found_by_its_entry_point() -> None:
    assert adapter_factory("adverse").__name__ == "AdverseAdapter"


@pytest.mark.parametrize(
    ("script", "said", "orders"),
    [
        ({"lost_reply": 1}, ReportKind.TIMEOUT, 1),
        ({"lost_request": 1}, ReportKind.TIMEOUT, 0),
        ({"late": 1, "late_s": 0.5}, ReportKind.TIMEOUT, 0),
        ({"error_before": 1}, ReportKind.TIMEOUT, 0),
        ({"error_after": 1}, ReportKind.TIMEOUT, 1),
        ({"half_json": 1}, ReportKind.TIMEOUT, 1),
        ({"html": 1}, ReportKind.TIMEOUT, 1),
        ({"ok_with_error": 1}, ReportKind.TIMEOUT, 1),
        ({"cut": 1}, ReportKind.TIMEOUT, 1),
        ({"rejected": 1}, ReportKind.REJECTED, 0),
        ({"receive_window_s": 0}, ReportKind.REJECTED, 0),
        ({}, ReportKind.ACCEPTED, 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
async def test_only_a_clear_word_is_an_answer(
    script: dict[str, float], said: ReportKind, orders: int, venue: AdverseVenue
) -> None:
    venue.market(SYNA_X="100")
    venue.script(**script)
    async with bench(venue) as made:
        command = made.command(CommandKind.SUBMIT, made.limit_order("o1", Decimal(50)))
        assert [report.kind for report in await made.adapter.submit(command)] == [said]
        assert len(venue.ledger()["orders"]) == orders
        again = replace(command, kind=CommandKind.QUERY)
        known = [report.kind for report in await made.adapter.query(again)]
        assert known == ([ReportKind.ACCEPTED] if orders else [ReportKind.NOT_FOUND])


@pytest.mark.parametrize("script", [{"throttled": 1}, {"banned": 1}])
async def test_a_refusal_to_look_says_until_when(
    script: dict[str, float], venue: AdverseVenue
) -> None:
    venue.script(**script, retry_after_s=7.5)
    async with bench(venue) as made:
        command = made.command(CommandKind.SUBMIT, made.limit_order("o1", Decimal(50)))
        with pytest.raises(VenueThrottled) as raised:
            await made.adapter.submit(command)
        assert raised.value.retry_after_s == 7.5
        assert venue.ledger()["orders"] == []


async def test_where_nobody_listens_nothing_has_left(venue: AdverseVenue) -> None:
    gone = AdverseVenue("http://127.0.0.1:9", 1)
    async with bench(venue) as made:
        made.adapter = AdverseAdapter(
            AdapterContext(
                run_id="r", venue=record(gone), instruments=(), accounts=(), now_ns=time.time_ns
            )
        )
        command = made.command(CommandKind.SUBMIT, made.limit_order("o1", Decimal(50)))
        with pytest.raises(VenueUnavailable):
            await made.adapter.submit(command)
        await made.adapter.close()


async def test_a_bust_comes_by_poll_as_by_stream(venue: AdverseVenue) -> None:
    venue.market(SYNA_X="100")
    async with bench(venue) as made:
        await made.submit(made.command(CommandKind.SUBMIT, made.market_order("o1")))
        trade_id = venue.ledger()["trades"][0]["trade_id"]
        venue.bust(trade_id)
        polled = await made.adapter.poll_fills("a1", 0)
        assert [type(one) for one in polled] == [VenueReport, TradeBust]
        assert venue.ledger()["positions"]["a1"] == {}
        assert Decimal(venue.ledger()["cash"]["a1"]) == 100_000
