"""What a person reads of risk's answer, and of an account that a command cannot mean."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import fields, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from run_samples import RUN

from tapeline.cli.commands.act import require_real_time, show_answer
from tapeline.cli.commands.venues import _modes
from tapeline.cli.order_asked import BadOrder
from tapeline.contracts.config import Account
from tapeline.contracts.orders import ApprovedOrder, Mode, Order, OrderAction
from tapeline.contracts.risk import Denial, DenialCode


def some(kind: Any, **values: Any) -> Any:
    """A record with the fields that matter here."""
    return kind(**{**{one.name: None for one in fields(kind)}, **values})


def approved(quantity: str) -> Any:
    order = some(Order, client_order_id="o1", quantity=Decimal(quantity))
    return some(ApprovedOrder, action=OrderAction.OPEN, order=order)


def denied(**figures: Any) -> Any:
    return some(Denial, code=DenialCode.POSITION_LIMIT, reason="Too much.", **figures)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (approved("1000.0"), "approved  o1  OPEN  1000\n"),
        (approved("8.5"), "approved  o1  OPEN  8.5  of 1000 asked for: a limit leaves no more\n"),
        (denied(), "denied  POSITION_LIMIT  Too much.\n"),
        (
            denied(measured=Decimal("0.0600"), limit=Decimal("0.05")),
            "denied  POSITION_LIMIT  Too much.  measured 0.06  limit 0.05\n",
        ),
        (None, "none  risk has not answered within 10 s\n"),
    ],
)
def test_an_answer_says_what_became_of_the_whole_of_what_was_asked(
    answer: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    is_yes = isinstance(answer, ApprovedOrder)
    with nullcontext() if is_yes else pytest.raises(typer.Exit, match="1"):
        show_answer(answer, False, Decimal(1000))
    assert capsys.readouterr().out == said


def test_scripts_get_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(approved("8.5"), True, Decimal(1000))
    assert json.loads(capsys.readouterr().out) == {
        "answer": "approved",
        "client_order_id": "o1",
        "action": "OPEN",
        "quantity": "8.5",
        "asked_quantity": "1000",
    }


def test_an_account_that_is_not_there_is_named_with_those_that_are() -> None:
    found = [some(Account, account_id="A", mode=Mode.PAPER)]
    place: Any = SimpleNamespace(
        records=SimpleNamespace(all=lambda *_: [SimpleNamespace(record=one) for one in found])
    )
    assert _modes(place, "A") == {"A": Mode.PAPER}
    with pytest.raises(BadOrder, match="no account B"):
        _modes(place, "B")


def test_no_order_by_hand_is_sent_where_it_would_be_ahead_of_the_clock() -> None:
    require_real_time(replace(RUN, is_paced=False))
    with pytest.raises(BadOrder, match="a-run plays s at the data's own pace"):
        require_real_time(RUN)
