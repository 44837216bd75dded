from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from execution_samples import RUN, T0, account, dec, instrument, trade, venue

from tapeline.contracts.orders import VenueReport
from tapeline.execution.venues.conformance import CHECKS, Bench, Check
from tapeline.execution.venues.interface import (
    AdapterContext,
    UnknownAdapter,
    VenueAdapter,
    adapter_factory,
    adapter_names,
)
from tapeline.execution.venues.paper_adapter import PaperAdapter


@dataclass(kw_only=True)
class PaperBench(Bench):
    """The paper venue, driven by a script of trades, one a second."""

    paper: PaperAdapter
    clock: list[int]

    async def move_market(self, price: Decimal) -> None:
        self.clock[0] += 1_000_000_000
        self.paper.pass_time()
        self.paper.tick(trade(self.clock[0], float(price), size=1000.0))

    async def streamed(self) -> Sequence[VenueReport]:
        stream = self.paper.stream(self.account_id)
        await self.paper.close()
        return [report async for report in stream]

    def now_ns(self) -> int:
        return self.clock[0]


def make_bench(latency_ns: int, participation_max: str) -> PaperBench:
    clock = [T0]
    adapter = PaperAdapter(
        AdapterContext(
            run_id=RUN,
            venue=venue(latency_ns=latency_ns, participation_max=dec(participation_max)),
            instruments=[instrument()],
            accounts=[account()],
            now_ns=lambda: clock[0],
        )
    )
    return PaperBench(
        adapter=adapter,
        paper=adapter,
        clock=clock,
        account_id="a1",
        instrument_id="SPY.ARCA",
        venue="PAPER",
        run_id=RUN,
        quantity=dec(10),
        price=dec(100),
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("latency_ns", "participation_max"),
    [(0, "0"), (0, "0.1"), (5_000_000, "0"), (5_000_000, "0.1")],
)
async def test_the_paper_venue_conforms(
    check: Check, latency_ns: int, participation_max: str
) -> None:
    bench = make_bench(latency_ns, participation_max)
    bench.paper.tick(trade(T0, 100.0))
    await check(bench)


async def test_the_suite_notices_an_adapter_that_reports_twice() -> None:
    class Twice(PaperAdapter):
        async def submit(self, command):  # type: ignore[no-untyped-def]
            answers = await super().submit(command)
            return [*answers, *await super().query(command), *answers]

    failed = []
    for check in CHECKS:
        bench = make_bench(0, "0")
        bench.adapter = bench.paper = Twice(bench.paper._context)
        bench.paper.tick(trade(T0, 100.0))
        try:
            await check(bench)
        except AssertionError:
            failed.append(check.__name__)
    assert "a_resting_order_is_listed_and_can_be_canceled" in failed


def test_adapters_are_found_by_entry_point() -> None:
    assert "paper" in adapter_names()
    assert adapter_factory("paper") is PaperAdapter


def test_an_unknown_adapter_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownAdapter, match=r"'nowhere' is installed; there are: .*paper"):
        adapter_factory("nowhere")


def test_the_how_to_shows_the_whole_interface() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to-add-a-venue.md").read_text("utf-8")
    blocks = page.split("```python\n")[1:]
    shown = [ast.parse(block.split("```")[0]) for block in blocks]
    adapter, bench = (
        {
            part.name
            for part in ast.walk(tree)
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for tree in shown
    )
    assert adapter == {"__init__", *(name for name in vars(VenueAdapter) if name[0] != "_")}
    assert Bench.__abstractmethods__ <= bench
