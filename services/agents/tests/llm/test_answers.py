"""Strict answers: what a model may say, and every way to say it wrong."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.agents.llm.answers import (
    AnalystAnswer,
    Invalid,
    PortfolioAnswer,
    analyst_parser,
    parse_economist,
    portfolio_parser,
    round_weight_down,
)

parse_analyst = analyst_parser("SPY.PAPER")
CAP = Decimal("0.04")
parse_portfolio = portfolio_parser(("SPY.PAPER", "QQQ.PAPER"), -CAP, CAP)


def analyst(stance: str = "0.5", confidence: str = "0.8", more: str = "") -> str:
    return (
        f'{{"instrument_id":"SPY.PAPER","stance":{stance},"confidence":{confidence},'
        f'"reasons":["up"]{more}}}'
    )


def portfolio(first: str = "0.04", second: str = "-0.04", name: str = "QQQ.PAPER") -> str:
    rows = ",".join(
        f'{{"instrument_id":"{who}","target_weight":{weight},"confidence":0.8,"reason":"r"}}'
        for who, weight in (("SPY.PAPER", first), (name, second))
    )
    return f'{{"weights":[{rows}],"comment":"c"}}'


@pytest.mark.parametrize("stance", ["-1", "-1.0", "0", "1e-3", "1", "0.123456789012345678901"])
def test_a_stance_within_its_bounds_is_read_exactly(stance: str) -> None:
    answer = parse_analyst(analyst(stance))
    assert isinstance(answer, AnalystAnswer)
    assert answer.stance == Decimal(stance)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "buy!",
        "NaN",
        analyst("1.0001"),
        analyst("-1.0001"),
        analyst("NaN"),
        analyst("Infinity"),
        analyst("-Infinity"),
        analyst("1e400"),
        analyst("null"),
        analyst("true"),
        analyst('"0.5"'),
        analyst("9" * 5000),
        analyst(confidence="1.01"),
        analyst(confidence="-0.01"),
        analyst(more=',"side":"BUY "'),
        analyst(more=',"stance":1'),
        analyst().replace("SPY.PAPER", "GME.PAPER"),
        analyst().replace("SPY.PAPER", "SPY.PAPER "),
        analyst().replace("SPY.PAPER", "SPУ.PAPER"),
        analyst().replace('["up"]', "[]"),
        analyst().replace('["up"]', '["' + "x" * 2001 + '"]'),
        analyst().replace('["up"]', '"up"'),
        analyst()[:-1],
        analyst() + analyst(),
        "Sure! " + analyst(),
        "[" * 10_000,
        '{"a":' * 10_000,
    ],
)
def test_an_analyst_must_answer_exactly_as_asked(text: str) -> None:
    assert isinstance(parse_analyst(text), Invalid)


def test_one_fence_around_an_answer_is_tolerated() -> None:
    assert isinstance(parse_analyst(f"```json\n{analyst()}\n```\n"), AnalystAnswer)
    assert isinstance(parse_analyst(f"```\n{analyst()}\n```"), AnalystAnswer)
    assert isinstance(parse_analyst(f"Here:\n```json\n{analyst()}\n```"), Invalid)


def test_characters_that_no_topic_can_hold_are_replaced_in_reasons() -> None:
    answer = parse_analyst(analyst().replace('"up"', '"a\\u0000b"'))
    assert isinstance(answer, AnalystAnswer)
    assert answer.reasons == ["a\ufffdb"]
    lone = parse_analyst(analyst().replace('"up"', '"a\\ud800b"'))
    assert isinstance(lone, Invalid) or lone.reasons == ["a?b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    ['{"regime":"BOOM","risk_multiplier":1,"comment":"c"}', '{"regime":"RISK_ON","comment":"c"}'],
)
def test_an_economist_must_answer_exactly_as_asked(text: str) -> None:
    assert isinstance(parse_economist(text), Invalid)


def test_weights_at_the_cap_pass() -> None:
    assert isinstance(parse_portfolio(portfolio("0.04", "-0.04")), PortfolioAnswer)


@pytest.mark.parametrize(
    "text",
    [
        portfolio("0.040001"),
        portfolio("-0.040000000000000000001"),
        portfolio("1"),
        portfolio(name="GME.PAPER"),
        portfolio(name="SPY.PAPER"),
        portfolio(name=""),
        '{"weights":[],"comment":"c"}',
        portfolio().replace('"reason":"r"', '"reason":"r","side":"BUY "', 1),
        portfolio().replace('"reason":"r"', '"reason":"r","leverage":10', 1),
    ],
)
def test_weights_beyond_the_cap_or_of_other_instruments_do_not_pass(text: str) -> None:
    assert isinstance(parse_portfolio(text), Invalid)


@given(st.decimals(min_value=-1, max_value=1, allow_nan=False, places=12))
def test_a_rounded_weight_is_never_larger(weight: Decimal) -> None:
    rounded = round_weight_down(weight)
    assert abs(rounded) <= abs(weight)
    assert abs(rounded - weight) < Decimal("0.000001")
    assert not (rounded.is_zero() and rounded.is_signed())
