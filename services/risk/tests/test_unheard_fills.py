"""An order that may only reduce what another has just bought, before that fill was heard."""

from __future__ import annotations

from dataclasses import replace

import pytest
from risk_samples import CONTEXT, desk, order

from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode
from tapeline.risk.core import RiskCore


@pytest.mark.parametrize("is_paced", [False, True])
def test_the_denial_tells_that_a_fill_may_be_on_its_way(is_paced: bool) -> None:
    world = desk()
    world.core = RiskCore(replace(CONTEXT, is_paced=is_paced))
    world.approved(order(Side.BUY, "10"))
    denial = world.denied(order(Side.SELL, "10", is_reduce_only=True, index=1))
    assert denial.code is DenialCode.REDUCE_ONLY
    assert "Of 10 under way on the other side no fill has been heard" in denial.reason
    assert ("slices that settle" in denial.reason) == is_paced


def test_where_nothing_is_under_way_the_denial_is_plain() -> None:
    world = desk()
    world.approved(order(Side.BUY, "10"))
    denial = world.denied(order(Side.BUY, "1", is_reduce_only=True, index=1))
    assert denial.reason == "There is nothing left that this order could reduce."
