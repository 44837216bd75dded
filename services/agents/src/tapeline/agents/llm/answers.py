"""What a model may answer, by role: strictly parsed, bounded, and only about permitted instruments.

An answer that is not exactly that is `Invalid` with a sentence the model can repair it by. Numbers
are read as decimals from the text itself; NaN, infinities and repeated keys do not pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

REASON_MAX_CHARACTERS: Final = 300
WEIGHT_STEP: Final = Decimal("0.000001")
_FENCED: Final = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


def recordable(text: str) -> str:
    """Text that every reader of a topic can store: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


Text = Annotated[str, Field(max_length=2000), AfterValidator(recordable)]
Share = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)]
Signed = Annotated[Decimal, Field(ge=-1, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    is_offline_model: bool = False
    """what the text says of itself; who answered is known from the call"""


class AnalystAnswer(_Strict):
    """A stance on one instrument."""

    instrument_id: Text
    stance: Signed
    confidence: Share
    reasons: Annotated[list[Text], Field(min_length=1, max_length=8)]


class EconomistAnswer(_Strict):
    """A comment on the regime; the regime itself is the rule's."""

    regime: Literal["RISK_ON", "RISK_OFF", "NEUTRAL", "TRANSITION"]
    risk_multiplier: Share
    comment: Text


class Weight(BaseModel):
    """What the portfolio manager wants of one instrument."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    instrument_id: Text
    target_weight: Signed
    confidence: Share
    reason: Text


class PortfolioAnswer(_Strict):
    """Target weights, one for every instrument that was reported on."""

    weights: Annotated[list[Weight], Field(max_length=200)]
    comment: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """Why an answer cannot be used, in words that help to repair it."""

    reason: str


Answer = AnalystAnswer | EconomistAnswer | PortfolioAnswer
Parse = Callable[[str], Answer | Invalid]
Model = TypeVar("Model", bound=BaseModel)


def analyst_parser(instrument_id: str) -> Parse:
    """Parses the answer of the analyst of one instrument."""

    def parse(text: str) -> Answer | Invalid:
        answer = _parsed(text, AnalystAnswer)
        if isinstance(answer, AnalystAnswer) and answer.instrument_id != instrument_id:
            return Invalid(reason=f"instrument_id must be {instrument_id!r}")
        return answer

    return parse


def parse_economist(text: str) -> Answer | Invalid:
    """Parses the answer of the economist."""
    return _parsed(text, EconomistAnswer)


def portfolio_parser(instruments: Sequence[str], low: Decimal, high: Decimal) -> Parse:
    """Parses the answer of the portfolio manager: every instrument once, no other, and weights
    from `low` to `high`, both included."""

    def parse(text: str) -> Answer | Invalid:
        answer = _parsed(text, PortfolioAnswer)
        if isinstance(answer, Invalid):
            return answer
        named = [weight.instrument_id for weight in answer.weights]
        if sorted(named) != sorted(instruments):
            return Invalid(reason=f"weights must name exactly these: {', '.join(instruments)}")
        for weight in answer.weights:
            if not low <= weight.target_weight <= high:
                where = f"target_weight of {weight.instrument_id}"
                return Invalid(reason=f"{where} must be from {low} to {high}")
        return answer

    return parse


def round_weight_down(weight: Decimal) -> Decimal:
    """Toward zero, to a millionth of NAV: a rounded weight is never above its cap."""
    return weight.quantize(WEIGHT_STEP, ROUND_DOWN) + 0


def _parsed(text: str, model: type[Model]) -> Model | Invalid:
    try:
        return model.model_validate(_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"][:4]) or "the answer"
        return _invalid(f"{where}: {first['msg']}")
    except (ValueError, RecursionError, ArithmeticError) as error:
        return _invalid(f"not the JSON asked for: {error}")


def _invalid(reason: str) -> Invalid:
    return Invalid(reason=recordable(reason)[:REASON_MAX_CHARACTERS])


def _json(text: str) -> Any:
    """JSON as it is meant: decimals exact, no NaN, no repeated keys; one fence may be around."""
    fenced = _FENCED.match(text)
    return json.loads(
        fenced.group(1) if fenced else text,
        parse_float=Decimal,
        parse_int=Decimal,
        parse_constant=_refuse_constant,
        object_pairs_hook=_without_repeats,
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value
