"""Which limits hold: the tightest of all places that set one, and what is not taken as one."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    EWG,
    GROUP,
    NOW,
    SECOND,
    SPY,
    Desk,
    account,
    decision,
    desk,
    group,
    instrument,
    mandate,
    mark,
)

from tapeline.contracts.config import Budget, Limits, Mandate, RiskOverlay, Sizing, SizingMethod
from tapeline.contracts.orders import ApprovedOrder
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.risk.config_book import SIGNED
from tapeline.risk.in_force import (
    COUNTS,
    FLOORS,
    LIMITS,
    PAUSES,
    SUMS,
    Gathered,
    gather,
    tighten,
)

D = Decimal
PLACE = (ACCOUNT, GROUP, SPY)
CEILING, FLOOR, PAUSE = "spread_max", "order_quantity_min", "group_cooldown_ns"


def overlay(value: str = "0.02", **changes: Any) -> RiskOverlay:
    values: dict[str, Any] = {
        "overlay_id": "storm",
        "account_id": ACCOUNT,
        "field": "position_weight_max",
        "value": D(value),
        "expires_ns": NOW + 5 * SECOND,
        "version": 1,
    }
    return RiskOverlay(**{**values, **changes})


def budget(**changes: Any) -> Budget:
    values: dict[str, Any] = {
        "budget_id": "firm",
        "field": "capital_max",
        "currency": "USD",
        "value": D(10_000),
        "shares": {ACCOUNT: D("0.4"), "PAPER-2": D("0.6")},
        "version": 1,
    }
    return Budget(**{**values, **changes})


def in_force(world: Desk, name: str, place: tuple[str, str, str] = PLACE) -> Decimal | None:
    return gather(world.state, place, world.now_ns).get(name)


def own(name: str, value: str) -> Limits:
    return Limits(**{name: int(value) if name.endswith("_ns") else D(value)})


PLACES = {
    "account": lambda name, value: account(limits=own(name, value)),
    "mandate": lambda name, value: mandate(limits=own(name, value)),
    "mandate for the instrument": lambda name, value: mandate(
        instrument_limits={SPY: own(name, value)}
    ),
    "group": lambda name, value: group(limits=own(name, value)),
    "instrument": lambda name, value: instrument(limits=own(name, value)),
}


@pytest.mark.parametrize("name", [CEILING, FLOOR])
@pytest.mark.parametrize("place", PLACES)
def test_every_place_sets_a_limit(place: str, name: str) -> None:
    world = desk(PLACES[place](name, "3"))
    assert in_force(world, name) == 3
    assert in_force(desk(), name) is None


@pytest.mark.parametrize("first", PLACES)
@pytest.mark.parametrize("second", PLACES)
def test_of_two_places_the_tighter_counts_whichever_is_the_more_special(
    first: str, second: str
) -> None:
    if first == second or {first, second} == {"mandate", "mandate for the instrument"}:
        return
    for name, tight in ((CEILING, 2), (FLOOR, 3), (PAUSE, 3)):
        assert in_force(desk(PLACES[first](name, "2"), PLACES[second](name, "3")), name) == tight
        assert in_force(desk(PLACES[first](name, "3"), PLACES[second](name, "2")), name) == tight


def test_within_a_mandate_the_limits_for_an_instrument_tighten_its_own() -> None:
    world = desk(
        mandate(
            limits=Limits(spread_max=D("0.02"), position_weight_max=D("0.9")),
            instrument_limits={SPY: Limits(spread_max=D("0.01"), position_weight_max=D("0.03"))},
        )
    )
    assert in_force(world, "spread_max") == D("0.01")
    assert in_force(world, "spread_max", (ACCOUNT, GROUP, EWG)) == D("0.02")
    assert in_force(world, "position_weight_max") == D("0.03")
    assert in_force(world, "position_weight_max", (ACCOUNT, GROUP, EWG)) == D("0.05")


def test_limits_of_others_do_not_count() -> None:
    world = desk(
        account("PAPER-2", limits=own(CEILING, "1")),
        group("other", limits=own(CEILING, "1")),
        instrument(EWG, limits=own(CEILING, "1")),
    )
    assert in_force(world, CEILING) is None


def test_trading_hours_are_kept_when_one_place_says_so() -> None:
    assert not gather(desk().state, PLACE, NOW).trades_in_hours
    for record in (
        account(limits=Limits(trades_in_hours=True)),
        group(limits=Limits(trades_in_hours=True)),
    ):
        off = mandate(limits=Limits(trades_in_hours=False))
        assert gather(desk(record, off).state, PLACE, NOW).trades_in_hours


def test_every_number_of_a_mandate_is_gathered_under_its_name() -> None:
    found = gather(desk().state, PLACE, NOW).values
    assert {item.name for item in fields(Mandate)} & set(LIMITS) <= set(found)
    assert found["confidence_min"] == D("0.5")
    assert found["mark_age_max_ns"] == 30 * SECOND


@given(
    st.sampled_from(LIMITS),
    st.lists(st.decimals(D("0"), D("9"), places=3), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_one_more_only_tightens(
    name: str, values: list[Decimal], chance: Any
) -> None:
    def tightest(listed: list[Decimal]) -> Decimal:
        found: dict[str, Decimal] = {}
        for value in listed:
            tighten(found, name, value)
        return found[name]

    shuffled = list(values)
    chance.shuffle(shuffled)
    assert tightest(values) == tightest(shuffled)
    assert tightest(values) == (max(values) if name in FLOORS else min(values))


# ---- what was gathered is gathered again


def test_limits_are_gathered_once_and_again_after_any_configuration() -> None:
    world, kept = desk(), Gathered()
    before = kept.limits(world.state, PLACE, NOW)
    assert kept.limits(world.state, PLACE, NOW) is before
    world.tell(group(limits=own(CEILING, "1"), version=2))
    after = kept.limits(world.state, PLACE, NOW)
    assert (before.get(CEILING), after.get(CEILING)) == (None, 1)
    other = desk()
    assert kept.limits(other.state, PLACE, NOW).get(CEILING) is None


def test_limits_are_gathered_again_when_an_overlay_ends() -> None:
    world, kept = desk(), Gathered()
    world.tell(overlay("0.02"), overlay("0.01", overlay_id="gale", expires_ns=NOW + 3 * SECOND))
    found = [
        kept.limits(world.state, PLACE, NOW + seconds * SECOND).get("position_weight_max")
        for seconds in (0, 2, 3, 4, 5)
    ]
    assert found == [D("0.01"), D("0.01"), D("0.02"), D("0.02"), D("0.05")]


def test_names_that_strangers_make_up_are_not_kept() -> None:
    world, kept = desk(), Gathered()
    for number in range(10):
        kept.limits(world.state, (f"a{number}", GROUP, SPY), NOW)
        kept.limits(world.state, (ACCOUNT, f"g{number}", SPY), NOW)
        kept.limits(world.state, (ACCOUNT, GROUP, f"i{number}"), NOW)
    assert kept.by_place == {}


# ---- overlays may only tighten and expire


def test_an_overlay_concerns_what_it_names() -> None:
    world = desk()
    world.tell(
        overlay("0.04"),
        overlay("0.03", overlay_id="b", group_id=GROUP),
        overlay("0.02", overlay_id="c", instrument_id=EWG),
        overlay("0.01", overlay_id="d", group_id="other"),
        overlay("0.001", overlay_id="e", account_id="PAPER-2"),
    )
    places = [(ACCOUNT, GROUP, SPY), (ACCOUNT, GROUP, EWG), (ACCOUNT, "x", SPY)]
    found = [in_force(world, "position_weight_max", place) for place in places]
    assert found == [D("0.03"), D("0.02"), D("0.04")]


@pytest.mark.parametrize("name", LIMITS)
def test_an_overlay_can_tighten_every_limit(name: str) -> None:
    world = desk()
    before = in_force(world, name)
    tight = D(10**15) if name in FLOORS else D(0)
    assert world.tell(overlay(field=name, value=tight)) == []
    assert in_force(world, name) == tight != before


@pytest.mark.parametrize(
    ("change", "is_taken"),
    [
        ({"value": D("0.02")}, True),
        ({"value": D("0.019")}, True),
        ({"value": D("0.0201")}, False),
        ({"expires_ns": NOW + 9 * SECOND}, True),
        ({"expires_ns": NOW + 4 * SECOND}, False),
        ({"account_id": "PAPER-2"}, False),
        ({"instrument_id": SPY}, False),
        ({"group_id": GROUP}, False),
        ({"field": "leverage_max"}, False),
    ],
)
def test_an_overlay_in_force_is_only_made_tighter_or_longer(
    change: dict[str, Any], is_taken: bool
) -> None:
    world = desk()
    world.tell(overlay())
    said = world.tell(overlay(**{"version": 2, **change}))
    assert [item.code for item in said] == ([] if is_taken else ["CONFIG_INVALID"])
    late = desk()
    late.tell(overlay())
    late.now_ns += 5 * SECOND
    assert late.tell(overlay(**{"version": 2, "expires_ns": NOW + 99 * SECOND, **change})) == []


def test_a_floor_under_an_overlay_is_tightened_upwards() -> None:
    world = desk()
    world.tell(overlay("0.2", field="cash_reserve_min"))
    assert world.tell(overlay("0.3", field="cash_reserve_min", version=2)) == []
    (said,) = world.tell(overlay("0.2", field="cash_reserve_min", version=3))
    assert said.code == "CONFIG_INVALID"
    assert in_force(world, "cash_reserve_min") == D("0.3")


# ---- budgets


def test_an_account_has_its_share_of_a_budget() -> None:
    world = desk()
    world.tell(budget())
    assert in_force(world, "capital_max") == 4_000
    world.tell(budget(version=2, shares={ACCOUNT: D("0.1")}))
    assert in_force(world, "capital_max") == 1_000


def test_without_a_share_or_in_another_currency_there_is_nothing() -> None:
    for record in (budget(shares={"PAPER-2": D(1)}), budget(currency="EUR")):
        world = desk()
        world.tell(record)
        assert in_force(world, "capital_max") == 0
        denial = world.denied(decision())
        assert denial.code is DenialCode.CAPITAL


def test_a_share_of_a_count_is_cut_to_a_whole_number() -> None:
    world = desk()
    world.tell(
        budget(field="open_orders_max", currency="", value=D(5), shares={ACCOUNT: D("0.59")})
    )
    assert in_force(world, "open_orders_max") == 2


def test_a_budget_and_a_mandate_both_hold() -> None:
    world = desk(mandate(limits=Limits(capital_max=D(3_000))))
    world.tell(budget())
    assert in_force(world, "capital_max") == 3_000


@pytest.mark.parametrize(
    "change",
    [
        {"field": "spread_max"},
        {"field": "trades_per_day_max"},
        {"currency": ""},
        {"value": D(-1)},
        {"shares": {ACCOUNT: D("-0.1")}},
        {"shares": {ACCOUNT: D("0.5"), "PAPER-2": D("0.500000000000000001")}},
    ],
)
def test_a_budget_that_makes_no_sense_is_not_taken(change: dict[str, Any]) -> None:
    world = desk()
    (said,) = world.tell(budget(**change))
    assert said.code == "CONFIG_INVALID"
    assert world.state.budgets == {}


@pytest.mark.parametrize("name", [*SUMS, *COUNTS])
def test_sums_and_counts_can_be_split(name: str) -> None:
    currency = "USD" if name in SUMS else ""
    world = desk()
    assert world.tell(budget(field=name, currency=currency)) == []
    assert in_force(world, name) == 4_000


# ---- what is not taken


def negative(name: str) -> Limits:
    return Limits(**{name: -1 if name.endswith("_ns") else D(-1)})


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in FLOORS or name in PAUSES])
def test_a_ceiling_below_nothing_is_not_taken_and_named(name: str) -> None:
    if name in ("correlation_max",):
        return
    whole = name in COUNTS or name == "group_trades_per_day_max" or "rate_max" in name
    limits = Limits(**{name: -1}) if whole else negative(name)
    for record in (
        account(limits=limits),
        group(limits=limits),
        instrument(limits=limits),
        mandate(limits=limits),
        mandate(instrument_limits={SPY: limits}),
    ):
        world = desk()
        (said,) = world.tell(type(record)(**{**_plain(record), "version": 2}))
        assert said.code == "CONFIG_INVALID"
        assert name in said.reason


def _plain(record: Any) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}


@pytest.mark.parametrize(
    ("sizing", "is_taken"),
    [
        (Sizing(method=SizingMethod.AS_ASKED), True),
        (Sizing(method=SizingMethod.CONFIDENCE), True),
        (Sizing(method=SizingMethod.FIXED), False),
        (Sizing(method=SizingMethod.FIXED, fixed_weight=D("0.1")), True),
        (Sizing(method=SizingMethod.FIXED, fixed_quantity=D(5)), True),
        (Sizing(method=SizingMethod.VOLATILITY_TARGET), False),
        (Sizing(method=SizingMethod.VOLATILITY_TARGET, volatility_target=D("0.1")), True),
        (Sizing(method=SizingMethod.KELLY), False),
        (Sizing(method=SizingMethod.KELLY, kelly_fraction=D("0.5")), True),
        (Sizing(method=SizingMethod.KELLY, kelly_fraction=D("-0.5")), False),
        (Sizing(method=SizingMethod.AS_ASKED, weight_max=D("-1")), False),
    ],
)
def test_a_sizing_without_its_figure_is_not_taken(sizing: Sizing, is_taken: bool) -> None:
    said = desk().tell(group(sizing=sizing, version=2))
    assert [item.code for item in said] == ([] if is_taken else ["CONFIG_INVALID"])


def test_an_older_mandate_is_ignored_with_an_incident() -> None:
    world = desk(mandate(limits=Limits(capital_max=D(1_000))))
    (said,) = world.tell(mandate(version=1))
    assert (said.code, "version 1" in said.reason) == ("CONFIG_OLD_VERSION", True)
    (said,) = world.tell(mandate(version=2, position_weight_max=D(1)))
    assert said.code == "CONFIG_OLD_VERSION"
    assert in_force(world, "capital_max") == 1_000


def test_a_history_is_begun_anew_with_another_interval_and_dropped_without_one() -> None:
    world = desk(instrument(history_interval_ns=60))
    assert world.state.histories[SPY].interval_ns == 60
    world.tell(instrument(history_interval_ns=30, version=3))
    assert world.state.histories[SPY].interval_ns == 30
    world.tell(instrument(version=4))
    assert world.state.histories == {}
    (said,) = world.tell(instrument(history_interval_ns=0, version=5))
    assert said.code == "CONFIG_INVALID"


def test_without_any_of_the_new_limits_nothing_is_asked_of_new_data() -> None:
    """What was configured before they were there is decided as before."""
    world = desk(marks=[mark()])
    said = world.tell(decision())
    assert [type(item) for item in said] == [ApprovedOrder]
    assert not [item for item in said if isinstance(item, Denial)]


@pytest.mark.parametrize(
    "record",
    [
        overlay(field="position_weight"),
        overlay(field=""),
        overlay("-0.0001"),
        overlay("-1", field=CEILING),
    ],
)
def test_an_overlay_that_makes_no_sense_is_not_taken(record: RiskOverlay) -> None:
    world = desk()
    before = world.core.dump(world.state)
    (incident,) = world.tell(record)
    assert incident.code == "CONFIG_INVALID"
    assert world.core.dump(world.state) == before


def test_an_overlay_of_a_limit_with_a_sign_may_be_negative() -> None:
    world = desk()
    assert world.tell(overlay("-0.5", field=sorted(SIGNED)[0])) == []


def test_what_has_no_bars_at_all_has_no_correlation() -> None:
    world = desk()
    assert Gathered().correlation(world.state, SPY, EWG) is None
