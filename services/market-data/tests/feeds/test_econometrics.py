from __future__ import annotations

import pytest

from tapeline.market_data.durations import UNITS_NS
from tapeline.market_data.feed_core import FeedCore, Slicer
from tapeline.market_data.feeds.econometrics import NASDAQ, SP500, make
from tapeline.market_data.feeds.interface import (
    FeedError,
    RawMacro,
    RawRecord,
    RawTrade,
    feed_names,
    make_feed,
)
from tapeline.market_data.quality import Gate, Limits

DAY = UNITS_NS["d"]


async def played(options: dict[str, str]) -> list[RawRecord]:
    return [raw async for batch in make(options).batches({}) for raw in batch]


async def test_five_years_of_two_indices_and_the_vix_pass_the_gate_unharmed() -> None:
    raws = await played({})
    prices = [raw for raw in raws if isinstance(raw, RawTrade)]
    assert len(prices) == 2 * 4 * 1258
    assert {raw.instrument_id for raw in prices} == {SP500, NASDAQ}
    assert len([raw for raw in raws if isinstance(raw, RawMacro)]) == 1257
    times = [raw.ts_event_ns for raw in raws]
    assert times == sorted(times)
    core = FeedCore("econometrics", "run", 1, lambda key, count: 0, Gate(Limits()))
    slicer = Slicer(core, DAY)
    slices = [part for raw in raws for part in slicer.push(raw)]
    assert len(slices) + 1 == 1258
    assert core.refused == {}


async def test_a_session_opens_and_closes_in_new_york_and_its_vix_comes_at_the_close() -> None:
    raws = await played({"start": "2014-01-03", "end": "2014-01-03"})
    assert len(raws) == 9
    hours = [raw.ts_event_ns % DAY / UNITS_NS["h"] for raw in raws]
    assert (hours[0], hours[-1]) == (13.5, 20.0)
    assert isinstance(raws[-1], RawMacro)
    assert raws[-1].value == 13.76


@pytest.mark.parametrize(
    "options", [{"start": "yesterday"}, {"start": "2016-01-02", "end": "2016-01-01"}, {"day": "1"}]
)
def test_wrong_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(FeedError):
        make(options)


def test_feeds_are_found_by_name_and_an_unknown_one_names_the_others() -> None:
    assert {"ccxt", "datasets", "econometrics", "recorded", "synthetic"} <= set(feed_names())
    assert make_feed("econometrics", {}).name == "econometrics"
    with pytest.raises(FeedError, match=r"econometrics"):
        make_feed("bloomberg", {})
