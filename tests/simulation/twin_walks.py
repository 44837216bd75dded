"""Walks by hand through all that an order can be, and all that a state can hold: what chance draws
may leave something out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import FeeTier, Limits, QueueRule, Sizing, SizingMethod
from tapeline.contracts.control import (
    CancelAll,
    Flatten,
    ScopeKind,
    SetTradingState,
    SwitchLevel,
)
from tapeline.contracts.orders import ReportKind, Side, TimeInForce, VenueReport
from tapeline.contracts.risk import TradingState

from . import world
from .twin import Maps
from .twin_machine import PERPETUAL, TRADED
from .wide_chain import LIMITS, WideChain

SPY = world.SPY
MANY = 400.0
"""the size of a quote that fills any order here"""
BY_VOLATILITY = Sizing(method=SizingMethod.VOLATILITY_TARGET, volatility_target=Decimal("0.01"))
TIERS = tuple(
    FeeTier(notional_min=Decimal(least), maker_fee_rate=Decimal(0), taker_fee_rate=Decimal(rate))
    for least, rate in ((0, "0.001"), (5_000, "0.0007"), (9_000, "0.0003"))
)
EVERYWHERE = (ScopeKind.ALL, "")
PLAIN = {
    "latency_ns": 0,
    "participation_max": Decimal(1),
    "queue_rule": QueueRule.AHEAD,
    "is_own_size_consumed": True,
    "borrow_rate": None,
}
"""a venue where nothing holds an order up but its queue"""


def begun(returns: tuple[int, int] = (0, 1), mode: str = "PAPER", **venue: Any) -> WideChain:
    chain = WideChain(mode)
    chain.begin(venue={**PLAIN, **venue}, risk=returns[0], execution=returns[1])
    return chain


def order(chain: WideChain, form: str, name: str, *sizes: float, **changes: Any) -> None:
    plain: dict[str, Any] = {"group_id": "g1", "side": Side.BUY, "quantity": 20}
    terms = {**plain, "tif": TimeInForce.GTC, **changes}
    chain.order(name=name, form=form, sizes=list(sizes), **terms)


def go_on(chain: WideChain, name: str, wait_ns: int = world.MILLI, change: int = 0) -> None:
    chain.wait(wait_ns)
    chain.tick(name, change, MANY, "quote")
    chain.deliver(20)
    chain.report(50)


def all_that_an_order_can_be(chain: WideChain) -> None:
    order(chain, "market", SPY, 4.0, MANY)
    chain.report(50)
    for form in ("twap", "vwap", "iceberg", "bracket"):
        order(chain, form, PERPETUAL, MANY)
        for _ in range(6):
            go_on(chain, PERPETUAL, 3 * world.SECOND)
    go_on(chain, PERPETUAL, change=9)
    chain.funding(0.0001)
    go_on(chain, SPY)
    order(chain, "near", SPY)
    chain.deliver(20)
    for kind in (DecisionKind.AMEND, DecisionKind.CANCEL):
        go_on(chain, SPY)
        chain.change(which=0, kind=kind)
        go_on(chain, SPY)
    chain.trip(EVERYWHERE, SwitchLevel.STOP_ENTRIES, False)
    order(chain, "market", SPY, MANY)
    for of, is_one, maps in product(("risk", "execution"), (True, False), Maps):
        chain.die(of, is_one, maps)
    go_on(chain, SPY, world.SECOND)


def limits_of_all_kinds(chain: WideChain) -> None:
    """Each holds for the order behind it: an overlay, a budget, paces, volumes."""
    chain.overlay("position_weight_max", "g1")
    order(chain, "market", SPY, quantity=250)
    chain.wait(20 * world.SECOND)
    chain.budget(20_000)
    order(chain, "market", SPY, quantity=250)
    chain.budget(400_000)
    for limits in LIMITS:
        chain.limits("A", limits)
        chain.again("g2", SPY, 0, False)
        chain.wait(20 * world.SECOND)
    chain.bars(SPY, 3)
    order(chain, "market", SPY, group_id="g2")


def decisions_of_all_kinds(chain: WideChain) -> None:
    """Repeated, from the future, and too many."""
    for ahead_ns in (0, world.HOUR):
        chain.again("g1", SPY, ahead_ns, True)
    chain.limits("A", Limits(order_rate_max=3))
    chain.rush("g2", 8)
    chain.wait(3 * world.SECOND)
    chain.wait(3 * world.SECOND)


def what_is_worth_what(chain: WideChain) -> None:
    """A position without a mark, another currency."""
    chain.correction(world.OIL, 9)
    order(chain, "market", SPY)
    order(chain, "market", world.EWG)


def what_venues_may_say(chain: WideChain) -> None:
    order(chain, "near", SPY)
    chain.deliver(20)
    chain.report(50)
    for is_so in (True, False):
        chain.unknown(0, is_so)
        order(chain, "market", SPY)
        chain.drift("A", SPY, is_so)
        order(chain, "market", SPY)


def switches_of_all_kinds(chain: WideChain) -> None:
    order(chain, "market", SPY, MANY)
    order(chain, "market", PERPETUAL, MANY)
    chain.report(50)
    order(chain, "market", SPY)
    order(chain, "near", PERPETUAL)
    signed = chain._signed(EVERYWHERE)
    halted = SetTradingState(**signed, state=TradingState.HALTED)
    chain.tell(halted)
    chain.tell(halted)
    chain.deliver(20)
    closes = Flatten(
        **chain._signed(EVERYWHERE),
        command_id="flatten",
        expires_ns=chain.now_ns + 60 * world.SECOND,
    )
    chain.tell(closes)
    chain.deliver(1)
    chain.command(EVERYWHERE, CancelAll)
    chain.wait(20 * world.SECOND)
    go_on(chain, SPY, 3 * world.SECOND)
    go_on(chain, PERPETUAL, 3 * world.SECOND)
    trip = chain.trip_of(EVERYWHERE, SwitchLevel.FLATTEN)
    chain.tell(trip)
    chain.tell(trip)
    chain.tell(
        SetTradingState(
            **{**chain._signed(EVERYWHERE), "sequence": trip.sequence}, state=TradingState.HALTED
        )
    )


def a_flatten_goes_on(chain: WideChain) -> None:
    """What was approved in its name runs out unsent; it closes what is held all the same."""
    order(chain, "market", SPY, MANY)
    chain.report(50)
    expires_ns = chain.now_ns + world.HOUR
    signed = chain._signed(EVERYWHERE)
    chain.tell(Flatten(**signed, command_id="flatten", expires_ns=expires_ns))
    chain.wait(world.MINUTE + world.SECOND)
    go_on(chain, SPY)
    for _ in range(3):
        go_on(chain, SPY, 20 * world.SECOND)


def losses(chain: WideChain) -> None:
    """Warned of, then halted for, once each."""
    order(chain, "market", SPY, MANY, quantity=200)
    chain.report(50)
    chain.limits("A", Limits(loss_amount_max=Decimal(600)))
    for _ in range(8):
        go_on(chain, SPY, 3 * world.SECOND, change=-9)


def words_out_of_order(chain: WideChain) -> None:
    """Risk hears that an order has ended before it hears of its fills."""
    for form in ("market", "bracket"):
        order(chain, form, SPY, 4.0, MANY)
        chain.back.reverse()
        chain.report(50)
        go_on(chain, SPY, change=9)
        chain.back.reverse()
        chain.report(50)
        go_on(chain, SPY, 3 * world.SECOND)


def a_group_that_runs_away(chain: WideChain) -> None:
    chain.limits("A", Limits(order_rate_max=3))
    for _ in range(5):
        chain.rush("g1", 8)
        chain.now_ns += 200 * world.MILLI
    chain.wait(3 * world.SECOND)


def paces(chain: WideChain) -> None:
    """One entry, and none so soon or on that day."""
    for limits in (
        Limits(instrument_cooldown_ns=30 * world.SECOND),
        Limits(group_cooldown_ns=30 * world.SECOND),
        Limits(group_trades_per_day_max=3),
    ):
        chain.limits("A", limits)
        for _ in range(2):
            order(chain, "market", SPY, MANY)
            chain.report(50)
        chain.wait(world.MINUTE)


def sized_by_bars(chain: WideChain) -> None:
    """By volatility; a bar that comes again counts once."""
    group = world.group("g1", sizing=BY_VOLATILITY, version=9)
    chain.tell(replace(group, instruments=TRADED))
    chain.bars(SPY, 3)
    chain.to_risk(chain.last_bar, topics.BARS)
    chain.ask("g1", SPY, target_weight=Decimal("0.1"))


def on_their_way(chain: WideChain) -> None:
    """Cancels and amendments that have not reached the venue; stops and queues that wait."""
    for form, kind in product(("near", "limit", "twap", "bracket"), ("CANCEL", "AMEND")):
        order(chain, form, SPY, *([30.0] if form == "bracket" else []))
        chain.deliver(20)
        go_on(chain, SPY, world.SECOND)
        chain.change(which=0, kind=DecisionKind(kind))
        chain.deliver(20)
        chain.tick(SPY, 0, 4.0, "trade")
        chain.wait(50 * world.MILLI)
        go_on(chain, SPY, world.SECOND)
        go_on(chain, SPY, 3 * world.SECOND)
    order(chain, "stop", SPY)
    chain.deliver(20)
    for change in (0, 1, 4):
        go_on(chain, SPY, world.SECOND, change=change)


def legs(chain: WideChain) -> None:
    """Protective legs that are filled in parts."""
    order(chain, "bracket", SPY, MANY)
    chain.report(50)
    for size in (4.0, 4.0, 30.0):
        chain.tick(SPY, 4, size, "quote")
        chain.wait(world.SECOND)
        chain.report(50)
    go_on(chain, SPY, 3 * world.SECOND)


def tiers_of_fees(chain: WideChain) -> None:
    for _ in range(3):
        order(chain, "market", SPY, MANY, quantity=60)
        order(chain, "market", world.EWG, MANY, quantity=60)
        chain.report(50)


def live(chain: WideChain) -> None:
    """An account trades live while its own switch is on."""
    chain.live_switch("A", True)
    order(chain, "market", SPY)
    chain.deliver(20)
    (sent,) = [one for one in chain.updates if one.command is not None]
    accepted = VenueReport(
        report_id="accepted",
        account_id="A",
        venue=world.PAPER,
        kind=ReportKind.ACCEPTED,
        client_order_id=sent.client_order_id,
        venue_order_id="v1",
        trade_id="",
        currency="",
        reason="",
        ts_event_ns=chain.now_ns,
        ts_init_ns=chain.now_ns,
    )
    filled = replace(
        accepted,
        report_id="filled",
        kind=ReportKind.FILLED,
        trade_id="t1",
        price=Decimal(100),
        quantity=Decimal(20),
        commission=Decimal("0.5"),
        currency="USD",
    )
    for report in (accepted, filled, filled):
        chain.heard(chain.execution.take(report, chain.now_ns, ""))
    chain.report(50)
    chain.die("execution", True, Maps.REVERSED)


def the_market_of_the_venue(chain: WideChain) -> None:
    """What it has shown, what we took of it, what is owed for what is held."""
    order(chain, "market", SPY, 4.0, 10.0)
    go_on(chain, SPY)
    order(chain, "market", PERPETUAL, MANY)
    for _ in range(2):
        chain.funding(0.0001)
    chain.tick(SPY, 0, MANY, "book")
    order(chain, "near", SPY)
    chain.deliver(20)
    chain.tick(SPY, 0, 30.0, "trade")
    chain.tick(PERPETUAL, 4, 30.0, "trade")
    order(chain, "limit", PERPETUAL, tif=TimeInForce.DAY)
    chain.deliver(20)
    chain.funding(0.0002)
    the_second_level(chain)
    chain.wait(25 * world.HOUR)


def the_second_level(chain: WideChain) -> None:
    """An order that joins it knows of the queue there by the book alone."""
    chain.tick(SPY, 0, 4.0, "book")
    for form in ("order", "trade"):
        chain.prices[SPY] = round(chain.prices[SPY] - 0.01, 2)
        if form == "order":
            order(chain, "near", SPY)
            chain.deliver(20)
        else:
            chain.tick(SPY, 0, 30.0, "trade")


def doubtful_approvals(chain: WideChain) -> None:
    order(chain, "market", SPY)
    approved = chain.approvals[0]
    chain.deliver(0)
    for verdict in ("BAD_MAC", ""):
        chain.heard(
            chain.execution.take(approved, chain.now_ns, topics.APPROVED_ORDERS, verdict=verdict)
        )
    order(chain, "market", SPY, group_id="g2")
    forged = chain.approvals.pop()
    for _ in range(3):
        chain.heard(chain.execution.take(forged, chain.now_ns, topics.APPROVED_ORDERS, "BAD_MAC"))
        chain.wait(20 * world.SECOND)
    chain.wait(25 * world.HOUR)


SCENES: tuple[Callable[[WideChain], None], ...] = (
    words_out_of_order,
    a_group_that_runs_away,
    paces,
    sized_by_bars,
    legs,
    tiers_of_fees,
    limits_of_all_kinds,
    decisions_of_all_kinds,
    what_is_worth_what,
    what_venues_may_say,
    switches_of_all_kinds,
    a_flatten_goes_on,
    the_market_of_the_venue,
    doubtful_approvals,
    live,
    losses,
    on_their_way,
    all_that_an_order_can_be,
)
"""the quick ones first"""


def walked(scene: Callable[[WideChain], None], returns: tuple[int, int]) -> None:
    """On paper; what only a live account meets, there."""
    if scene is on_their_way:
        scene(begun(returns, latency_ns=150 * world.MILLI))
    elif scene is tiers_of_fees:
        scene(begun(returns, fee_tiers=TIERS))
    elif scene is live:
        scene(begun(returns, "LIVE", adapter="elsewhere"))
    else:
        scene(begun(returns))
