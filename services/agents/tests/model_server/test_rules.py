"""The written rules: one row a rule, each limit with its neighbor just inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.agents.model_server.rules import NoRule, answer


def judged(**figures: Any) -> dict[str, Any]:
    return answer({"role": "analyst", "instrument_id": "SPY.PAPER", "figures": figures})


@pytest.mark.parametrize(
    ("figures", "stance", "confidence"),
    [
        ({}, 0.0, 0.0),
        ({"momentum": 0.05}, 1.0, 1.0),
        ({"momentum": 0.025}, 0.5, 1.0),
        ({"momentum": -0.5}, -1.0, 1.0),
        ({"momentum": 0.0}, 0.0, 0.0),
        ({"sma_distance": -0.05}, -1.0, 1.0),
        ({"rsi": 70.0}, 0.0, 0.0),
        ({"rsi": 85.0}, -0.5, 1.0),
        ({"rsi": 100.0}, -1.0, 1.0),
        ({"rsi": 30.0}, 0.0, 0.0),
        ({"rsi": 15.0}, 0.5, 1.0),
        ({"momentum": 0.05, "sma_distance": 0.05, "rsi": 50.0}, 0.8, 1.0),
        ({"momentum": 0.05, "rsi": 100.0}, 0.4286, 0.7143),
        ({"momentum": 0.05, "volatility": 0.03}, 1.0, 1.0),
        ({"momentum": 0.05, "volatility": 0.0301}, 0.5, 1.0),
        ({"momentum": float("nan"), "rsi": 15.0}, 0.5, 1.0),
        ({"momentum": "much", "rsi": None}, 0.0, 0.0),
        ({"momentum": True}, 0.0, 0.0),
    ],
)
def test_an_analyst_weighs_the_figures_that_are_given(
    figures: dict[str, Any], stance: float, confidence: float
) -> None:
    result = judged(**figures)
    assert (result["stance"], result["confidence"]) == (stance, confidence)


@pytest.mark.parametrize(
    ("vix", "momentum", "regime", "multiplier"),
    [
        (19.99, 0.01, "RISK_ON", 1.0),
        (19.99, -0.01, "TRANSITION", 0.5),
        (20.0, 0.01, "NEUTRAL", 0.75),
        (30.0, -0.01, "NEUTRAL", 0.75),
        (30.01, -0.01, "RISK_OFF", 0.25),
        (30.01, 0.01, "TRANSITION", 0.5),
        (None, 0.01, "TRANSITION", 0.5),
        (12.0, None, "TRANSITION", 0.5),
    ],
)
def test_the_economist_follows_the_vix_rule(
    vix: float | None, momentum: float | None, regime: str, multiplier: float
) -> None:
    result = answer({"role": "economist", "vix": vix, "momentum": momentum})
    assert (result["regime"], result["risk_multiplier"]) == (regime, multiplier)


@pytest.mark.parametrize(
    ("stance", "confidence", "low", "weight"),
    [
        (1.0, 1.0, -0.04, 0.04),
        (-1.0, 1.0, -0.04, -0.04),
        (-1.0, 1.0, 0.0, 0.0),
        (0.5, 0.5, -0.04, 0.02),
        (0.5, 0.49, -0.04, 0.0),
        (0.1, 1.0, -0.04, 0.004),
        (0.0999, 1.0, -0.04, 0.0),
        (0.3333, 1.0, -0.04, 0.013332),
    ],
)
def test_the_portfolio_manager_scales_the_stance_to_the_cap(
    stance: float, confidence: float, low: float, weight: float
) -> None:
    report = {"instrument_id": "SPY.PAPER", "stance": stance, "confidence": confidence}
    figures = {"weight_min": low, "weight_max": 0.04, "analysts": [report]}
    result = answer({"role": "portfolio_manager", **figures})
    assert [w["target_weight"] for w in result["weights"]] == [weight]


@given(
    st.dictionaries(
        st.sampled_from(["momentum", "sma_distance", "rsi", "volatility", "other"]),
        st.floats() | st.none() | st.sampled_from(["", "1", "nan"]) | st.booleans(),
    )
)
def test_any_figures_give_a_bounded_answer_that_says_whose_it_is(figures: dict[str, Any]) -> None:
    result = judged(**figures)
    assert -1 <= result["stance"] <= 1
    assert 0 <= result["confidence"] <= 1
    assert result["is_offline_model"] is True
    assert result["reasons"][0].startswith("Offline model")
    assert judged(**dict(reversed(figures.items()))) == result
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"role": "trader"},
        {"role": "analyst", "figures": 3},
        {"role": "portfolio_manager", "weight_min": 0, "weight_max": 0.1},
        {"role": "portfolio_manager", "weight_min": 0, "weight_max": 9, "analysts": []},
        {"role": "portfolio_manager", "weight_min": 0, "weight_max": 0.1, "analysts": [1]},
        {"role": "portfolio_manager", "weight_min": 0, "weight_max": 0.1, "analysts": [{}]},
    ],
)
def test_figures_of_no_known_role_have_no_rule(figures: dict[str, Any]) -> None:
    with pytest.raises(NoRule):
        answer(figures)
