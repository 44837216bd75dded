"""Mandate, capital, size, routes and authors, on both sides of their edges. NAV is 100,000 USD."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from risk_samples import (
    CONTEXT,
    EURUSD,
    EWG,
    GROUP,
    SPY,
    Desk,
    account,
    decision,
    desk,
    fx,
    group,
    instrument,
    mandate,
    mark,
    order,
    update_of,
    venue,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import GroupKind, Limits, Mandate
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, OrderType, Side
from tapeline.contracts.risk import Denial, DenialCode, LimitWarning
from tapeline.risk.authors import Authors
from tapeline.runtime.keys import create_secret
from tapeline.runtime.signing import KeyRing, OperatorKeys, seal

D = Decimal
BUY, SELL = Side.BUY, Side.SELL


def wide(_limits: Limits | None = None, **changes: Any) -> Mandate:
    """A mandate in which nothing binds but what a test says."""
    values: dict[str, Any] = {
        "position_weight_max": D(10),
        "gross_exposure_max": D(10),
        "leverage_max": D(10),
        "cash_reserve_min": D(-10),
        "allows_short": True,
        "limits": _limits,
    }
    return mandate(**{**values, **changes})


def refused(world: Desk, asked: Decision, code: DenialCode, verdict: str = "") -> Denial:
    denial = world.denied(asked, verdict)
    assert denial.code is code, denial
    assert denial.reason
    return denial


def cut(world: Desk, asked: Decision, quantity: str, code: DenialCode) -> LimitWarning:
    said = world.tell(asked)
    assert isinstance(said[0], ApprovedOrder), said
    assert said[0].order.quantity == D(quantity)
    assert isinstance(said[1], LimitWarning)
    assert said[1].code is code
    return said[1]


def lets_out(world: Desk, number: int = 9) -> None:
    world.hold("5")
    assert world.approved(order(SELL, "5", index=number)).order.quantity == 5


# ---- venues and sides


@pytest.mark.parametrize(
    ("venues", "is_permitted"),
    [(None, True), (("PAPER",), True), (("A", "PAPER"), True), (("ARCA",), False), ((), False)],
)
def test_a_mandate_names_venues(venues: tuple[str, ...] | None, is_permitted: bool) -> None:
    world = desk(wide(venues=venues))
    if is_permitted:
        world.approved(decision())
    else:
        refused(world, decision(), DenialCode.VENUE_NOT_PERMITTED)
        lets_out(world)


@pytest.mark.parametrize(
    ("sides", "side", "is_permitted"),
    [
        (None, BUY, True),
        (None, SELL, True),
        ((BUY,), BUY, True),
        ((BUY,), SELL, False),
        ((SELL,), BUY, False),
        ((SELL,), SELL, True),
        ((), BUY, False),
        ((), SELL, False),
    ],
)
def test_a_mandate_names_sides(
    sides: tuple[Side, ...] | None, side: Side, is_permitted: bool
) -> None:
    world = desk(wide(sides=sides))
    if is_permitted:
        world.approved(order(side, "5"))
    else:
        refused(world, order(side, "5"), DenialCode.SIDE_NOT_PERMITTED)
        lets_out(world)


# ---- capital and buying power


def test_capital_is_what_positions_and_open_orders_tie_up() -> None:
    world = desk(wide(Limits(capital_max=D(10_000))), marks=[mark(), mark(EWG)])
    world.hold("30", instrument_id=EWG)
    first = world.approved(order(BUY, "50"))
    warning = cut(world, order(BUY, "21", index=1), "20", DenialCode.CAPITAL)
    assert (warning.measured, warning.limit) == (10_100, 10_000)
    refused(world, order(BUY, "1", index=2), DenialCode.CAPITAL)
    world.tell(update_of(first, OrderStatus.UNKNOWN, is_terminal=False))
    refused(world, order(BUY, "1", instrument_id=EWG, index=3), DenialCode.CAPITAL)
    world.tell(update_of(first, OrderStatus.CANCELED))
    cut(world, order(BUY, "51", index=4), "50", DenialCode.CAPITAL)


def test_buying_power_counts_limit_prices_and_fees() -> None:
    limits = Limits(buying_power_max=D(1))
    world = desk(wide(limits), venue(taker_fee_rate=D("0.01")))
    # 495 at 100 and a fee of 1 % are 49,995; 481 at 104 and the fee are 50,524 and a bit.
    world.approved(order(BUY, "495"))
    asked = order(BUY, "481", index=1, order_type=OrderType.LIMIT, limit_price=D(104))
    warning = cut(world, asked, "476", DenialCode.BUYING_POWER)
    assert warning.measured is not None
    assert warning.measured > 1
    assert warning.limit == 1


@pytest.mark.parametrize("name", ["buying_power_max", "capital_max"])
def test_an_order_of_unknown_fate_still_ties_up(name: str) -> None:
    value = D(1) if name == "buying_power_max" else D(100_000)
    world = desk(wide(Limits(**{name: value})), marks=[mark(), mark(EWG)])
    first = world.approved(order(BUY, "900"))
    world.tell(update_of(first, OrderStatus.UNKNOWN, is_terminal=False))
    cut(world, order(BUY, "101", instrument_id=EWG, index=1), "100", DenialCode[name[:-4].upper()])


def test_a_short_ties_up_like_a_long() -> None:
    world = desk(wide(Limits(buying_power_max=D("0.5"))))
    cut(world, order(SELL, "501"), "500", DenialCode.BUYING_POWER)


# ---- net exposure


@pytest.mark.parametrize(("side", "sign"), [(BUY, 1), (SELL, -1)])
def test_net_exposure_counts_the_open_orders_of_its_side(side: Side, sign: int) -> None:
    world = desk(wide(Limits(net_exposure_max=D("0.5"))), marks=[mark(), mark(EWG)])
    world.hold(str(-200 * sign), instrument_id=EWG)
    world.approved(order(side, "300"))
    warning = cut(world, order(side, "401", index=1), "400", DenialCode.NET_EXPOSURE)
    assert (warning.measured, warning.limit) == (D("0.501"), D("0.5"))
    refused(world, order(side, "1", index=2), DenialCode.NET_EXPOSURE)
    other = SELL if side is BUY else BUY
    world.approved(order(other, "300", instrument_id=EWG, index=3))


def test_what_closes_counts_for_the_net_too() -> None:
    world = desk(wide(Limits(net_exposure_max=D("0.5"))))
    world.hold("-100")
    # 100 close, 500 open: 0.5 net.
    cut(world, order(BUY, "601"), "600", DenialCode.NET_EXPOSURE)


# ---- size


@pytest.mark.parametrize(
    ("limits", "quantity", "code", "figures"),
    [
        (Limits(order_quantity_max=D(50)), "50", None, None),
        (Limits(order_quantity_max=D(50)), "51", DenialCode.QUANTITY_MAX, (51, 50)),
        (Limits(order_notional_max=D(5_000)), "50", None, None),
        (Limits(order_notional_max=D(5_000)), "51", DenialCode.NOTIONAL_MAX, (5_100, 5_000)),
        (Limits(order_quantity_min=D(50)), "50", None, None),
        (Limits(order_quantity_min=D(50)), "49", DenialCode.BELOW_LOT, (49, 50)),
        (Limits(order_notional_min=D(5_000)), "50", None, None),
        (Limits(order_notional_min=D(5_000)), "49", DenialCode.BELOW_NOTIONAL_MIN, (4_900, 5_000)),
    ],
)
def test_an_explicit_order_has_a_size(
    limits: Limits, quantity: str, code: DenialCode | None, figures: tuple[int, int] | None
) -> None:
    world = desk(wide(limits))
    if code is None:
        world.approved(order(BUY, quantity))
        return
    denial = refused(world, order(BUY, quantity), code)
    assert (denial.measured, denial.limit) == figures
    lets_out(world)


def test_an_order_is_worth_its_limit_where_that_is_above_the_mark() -> None:
    world = desk(wide(Limits(order_notional_max=D(5_000))))
    asked = {"order_type": OrderType.LIMIT, "limit_price": D(104)}
    assert refused(world, order(BUY, "50", **asked), DenialCode.NOTIONAL_MAX).measured == 5_200
    world.approved(order(BUY, "48", index=1, **asked))


def test_a_value_is_in_the_account_s_currency() -> None:
    world = desk(wide(Limits(order_notional_max=D(5_000))))
    world.tell(fx(), mark(EURUSD, 1.25), account("EURO", base_currency="EUR"))
    world.tell(replace(wide(Limits(order_notional_max=D(5_000))), account_id="EURO", version=1))
    asked = {"account_id": "EURO", "group_id": "MANUAL"}
    world.approved(order(BUY, "62", **asked))
    assert refused(world, order(BUY, "63", index=1, **asked), DenialCode.NOTIONAL_MAX).measured == (
        5_040
    )


@pytest.mark.parametrize(
    "limits", [Limits(order_quantity_max=D(50)), Limits(order_notional_max=D(5_000))]
)
def test_a_target_is_reached_in_orders_of_the_largest_size(limits: Limits) -> None:
    world = desk(wide(limits))
    for number in range(3):
        said = world.tell(decision(target_weight=D("0.12"), index=number))
        assert isinstance(said[0], ApprovedOrder)
        assert said[0].order.quantity == (50, 50, 20)[number]


def test_a_size_does_not_keep_anyone_in() -> None:
    world = desk(wide(Limits(order_quantity_max=D(50), order_notional_max=D(1))))
    world.hold("300")
    approved = world.approved(order(SELL, "310"))
    assert approved.order.quantity == 300
    assert approved.order.is_reduce_only


def test_what_is_cut_below_the_least_is_left_out() -> None:
    limits = Limits(order_quantity_min=D(30), capital_max=D(2_000))
    denial = refused(desk(wide(limits)), order(BUY, "50"), DenialCode.CAPITAL)
    assert (denial.measured, denial.limit) == (5_000, 2_000)


# ---- the day's loss as a sum


@pytest.mark.parametrize(("price", "is_lost"), [(98.0, False), (97.99, True)])
def test_a_loss_is_limited_as_a_sum(price: float, is_lost: bool) -> None:
    world = desk(wide(Limits(loss_amount_max=D(1_000))))
    world.hold("500")
    world.tell(mark(price=price))
    if is_lost:
        denial = refused(world, order(BUY, "10"), DenialCode.DAILY_LOSS)
        assert (denial.measured, denial.limit) == (1_005, 1_000)
    else:
        world.approved(order(BUY, "10"))


# ---- routes


def test_an_order_carries_the_symbol_of_its_route() -> None:
    assert desk().approved(decision()).order.venue_symbol == "SPY"
    abroad = instrument(venue="ARCA", venue_symbols={"PAPER": "SPY/USD"})
    assert desk(abroad).approved(decision()).order.venue_symbol == "SPY/USD"


@pytest.mark.parametrize(
    "change",
    [
        instrument(venue="ARCA"),
        instrument(venue="ARCA", venue_symbols={}),
        instrument(venue="ARCA", venue_symbols={"XETR": "SPY"}),
        instrument(venue="ARCA", venue_symbols={"PAPER": ""}),
        instrument(symbol=""),
    ],
)
def test_without_a_route_there_is_no_order(change: Any) -> None:
    world = desk(change)
    refused(world, decision(), DenialCode.ROUTE_UNKNOWN)
    world.hold("5")
    refused(world, order(SELL, "5", index=1), DenialCode.ROUTE_UNKNOWN)


def test_a_venue_that_is_not_configured_has_no_routes() -> None:
    world = Desk()
    world.tell(instrument(), account(), mandate(), group(), mark())
    refused(world, decision(), DenialCode.ROUTE_UNKNOWN)


# ---- authors

SECRET = bytes(range(32))
RING = KeyRing.of({"k1": SECRET}, active="k1", revoked=frozenset())
NOBODY = OperatorKeys.from_folder(Path("/nowhere"))


def external(**changes: Any) -> Desk:
    return desk(group(kind=GroupKind.EXTERNAL, **changes))


def signed(**changes: Any) -> Decision:
    return seal(decision(**{"run_id": CONTEXT.run_id, **changes}), RING)


def test_an_external_group_signs_its_decisions() -> None:
    external().approved(signed())
    refused(external(), decision(), DenialCode.AUTHOR_UNVERIFIED)
    desk().approved(decision())
    desk().approved(signed())


@pytest.mark.parametrize("kind", [GroupKind.EXTERNAL, GroupKind.ALGORITHMIC])
def test_a_wrong_signature_is_no_signature_whoever_decides(kind: GroupKind) -> None:
    world = desk(group(kind=kind))
    denial = refused(world, signed(), DenialCode.AUTHOR_UNVERIFIED, "AUTHOR_BAD_MAC")
    assert "BAD_MAC" in denial.reason
    denial = refused(world, signed(index=1, run_id="run-0"), DenialCode.AUTHOR_UNVERIFIED)
    assert "run run-0" in denial.reason
    denial = refused(world, signed(index=2, run_id=""), DenialCode.AUTHOR_UNVERIFIED)
    assert "run (none)" in denial.reason


def test_nobody_cancels_in_another_s_name() -> None:
    world = external()
    approved = world.approved(signed())
    cancel = {
        "kind": DecisionKind.CANCEL,
        "client_order_id": approved.order.client_order_id,
        "index": 1,
    }
    refused(world, decision(**cancel), DenialCode.AUTHOR_UNVERIFIED)
    world.approved(signed(**{**cancel, "index": 2}))


def test_the_shell_knows_the_authors_by_their_keys(tmp_path: Path) -> None:
    create_secret(tmp_path / "groups" / GROUP, "k1")
    create_secret(tmp_path / "groups" / "other", "k1")
    authors = Authors(tmp_path, NOBODY)
    own = KeyRing.from_folder(tmp_path / "groups" / GROUP)
    sealed = seal(decision(run_id="run-1"), own)
    assert authors.verdict(decision()) == ""
    assert authors.verdict(sealed) == ""
    assert authors.verdict(sealed) == ""
    for change, code in (
        ({"target_weight": D("0.05")}, "AUTHOR_BAD_MAC"),
        ({"run_id": "run-2"}, "AUTHOR_BAD_MAC"),
        ({"group_id": "other"}, "AUTHOR_BAD_MAC"),
        ({"group_id": "nobody"}, "AUTHOR_KEY_MISSING"),
        ({"group_id": ".."}, "AUTHOR_KEY_MISSING"),
        ({"group_id": f"../{GROUP}"}, "AUTHOR_KEY_MISSING"),
        ({"group_id": ""}, "AUTHOR_KEY_MISSING"),
        ({"key_id": "k2"}, "AUTHOR_UNKNOWN_KEY"),
        ({"mac": b""}, "AUTHOR_UNSIGNED"),
        ({"mac": b"\0" * 32}, "AUTHOR_BAD_MAC"),
    ):
        assert authors.verdict(replace(sealed, **change)) == code, change


def test_a_key_that_others_can_read_or_that_is_revoked_verifies_nothing(tmp_path: Path) -> None:
    path = create_secret(tmp_path / "groups" / GROUP, "k1")
    sealed = seal(decision(), KeyRing.from_folder(tmp_path / "groups" / GROUP))
    path.chmod(0o640)
    assert Authors(tmp_path, NOBODY).verdict(sealed) == "AUTHOR_KEY_UNSAFE"
    path.chmod(0o600)
    create_secret(tmp_path / "groups" / GROUP, "k2")
    (tmp_path / "groups" / GROUP / "revoked").write_text("k1\n")
    authors = Authors(tmp_path, NOBODY)
    assert authors.verdict(sealed) == "AUTHOR_REVOKED_KEY"
    own = KeyRing.from_folder(tmp_path / "groups" / GROUP)
    assert authors.verdict(seal(decision(), own)) == ""


def test_instruments_of_two_venues_have_their_own_symbols() -> None:
    world = desk(instrument(EWG, venue="XETR", venue_symbols={"PAPER": "EWG-P"}))
    world.tell(mark(EWG))
    symbols = [
        world.approved(decision(instrument_id=name, index=number)).order.venue_symbol
        for number, name in enumerate((SPY, EWG))
    ]
    assert symbols == ["SPY", "EWG-P"]
