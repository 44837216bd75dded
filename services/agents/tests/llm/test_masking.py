"""What a masked group is told, field by field, and under which names its answers come back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from cycles_by_hand import CYCLE_NS, DAY_NS, FALLING, QQQ, RISING, SPY, cycle, market, signal

from tapeline.agents.llm.answers import AnalystAnswer, Invalid, PortfolioAnswer, Weight
from tapeline.agents.llm.figures import (
    analyst_figures,
    economist_figures,
    market_view,
    portfolio_figures,
)
from tapeline.agents.llm.masking import NO_MASK, Mask, mask_of

MASK = Mask(names={SPY: "ASSET-1", QQQ: "ASSET-2"}, shift_days=1234)
# 2015-01-05 22:00 UTC is day 16440.
AS_OF = "day 17674, 22:00 UTC"
CYCLE = cycle(
    market(),
    signal(SPY, RISING, reason="SPY above 200 in January 2015."),
    signal(QQQ, FALLING),
    targets={SPY: Decimal("0.1")},
)
REPORT = AnalystAnswer(
    instrument_id=SPY, stance=Decimal("0.5"), confidence=Decimal("0.6"), reasons=["It rises."]
)


def test_an_analyst_is_told_neither_name_nor_date_nor_price_nor_words() -> None:
    assert MASK.masked(analyst_figures(CYCLE, SPY), CYCLE) == {
        "role": "analyst",
        "as_of": AS_OF,
        "instrument_id": "ASSET-1",
        "price": None,
        "figures": {"momentum": 0.04, "rsi": 55.0, "volatility": 0.01, "sma_distance": 0.03},
        "signals": [{"direction": "FLAT", "confidence": 0.0, "expected_return": 0.0}],
    }


def test_the_economist_is_told_no_date() -> None:
    plain = economist_figures(CYCLE, market_view(CYCLE))
    assert MASK.masked(plain, CYCLE) == {**plain, "as_of": AS_OF}
    assert plain["as_of"] == "2015-01-05T22:00:00Z"


def test_the_portfolio_manager_is_told_neither_names_nor_date() -> None:
    limits = (Decimal(0), Decimal("0.2"))
    plain = portfolio_figures(CYCLE, market_view(CYCLE), limits, [REPORT])
    masked = MASK.masked(plain, CYCLE)
    (report,) = masked["analysts"]
    assert masked == {**plain, "as_of": AS_OF, "analysts": [report]}
    assert report == {**plain["analysts"][0], "instrument_id": "ASSET-1"}
    text = json.dumps(masked)
    assert not [word for word in ("SPY", "PAPER", "2015") if word in text]


def test_answers_come_back_under_their_own_names() -> None:
    def weight(name: str, value: str) -> Weight:
        return Weight(
            instrument_id=name, target_weight=Decimal(value), confidence=Decimal("0.5"), reason="so"
        )

    answers: dict[str, Any] = {
        "analyst": REPORT.model_copy(update={"instrument_id": "ASSET-2"}),
        "portfolio": PortfolioAnswer(
            weights=[weight("ASSET-1", "0.1"), weight("ASSET-2", "-0.2")], comment="so"
        ),
        "invalid": Invalid(reason="no answer"),
    }
    parse = MASK.parser(answers.__getitem__)
    analyst, portfolio = parse("analyst"), parse("portfolio")
    assert isinstance(analyst, AnalystAnswer)
    assert isinstance(portfolio, PortfolioAnswer)
    assert analyst.instrument_id == QQQ
    told = [(one.instrument_id, one.target_weight) for one in portfolio.weights]
    assert told == [(SPY, Decimal("0.1")), (QQQ, Decimal("-0.2"))]
    assert parse("invalid") is answers["invalid"]


def test_a_run_has_its_own_count_of_days_which_is_not_the_calendars() -> None:
    masks = [mask_of(f"run-{number}", (SPY, QQQ)) for number in range(20)]
    assert len({mask.shift_days for mask in masks}) == 20
    assert all(mask.shift_days > 0 for mask in masks)
    assert mask_of("run-1", (SPY, QQQ)) == masks[1]
    assert masks[0].names == {SPY: "ASSET-1", QQQ: "ASSET-2"}
    shifted = MASK.masked({"role": "economist"}, CYCLE)["as_of"]
    assert f"day {CYCLE_NS // DAY_NS + 1234}," in shifted


def test_without_a_mask_nothing_is_changed() -> None:
    plain = analyst_figures(CYCLE, SPY)
    assert NO_MASK.masked(plain, CYCLE) is plain
