"""What a backtest is asked to do, and the config records that say so to the cores.

Limits of risk are as good as off unless the setup sets them: a plain backtest shows the strategy,
and the same guards stand in its way as in every other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import msgspec

from tapeline.backtest.assumed import assumed
from tapeline.backtest.run_tables import Assumption
from tapeline.contracts.config import (
    Account,
    AssetClass,
    GroupKind,
    Instrument,
    Mandate,
    TradingGroup,
    Trigger,
    Venue,
)
from tapeline.contracts.orders import Mode
from tapeline.market_data.durations import duration_ns
from tapeline.runtime.exits import USAGE, Failure

ACCOUNT: Final = "BACKTEST-1"
GROUP: Final = "flip"
FEED: Final = "file"
UNIVERSE: Final = "backtest"
CURRENCY: Final = "USD"
SECOND_NS: Final = 1_000_000_000
NO_LIMIT: Final = Decimal(1_000_000_000)
"""as a share or a multiple: nothing gets there"""
MODEL_HALF_SPREAD: Final = Decimal("0.0001")
MODEL_PARTICIPATION: Final = Decimal("0.1")


class BadSetup(Failure):
    """A backtest is asked for that cannot be."""

    exit_code = USAGE


def interval_ns_of(text: str) -> int:
    """Length of bars in nanoseconds; raises BadSetup."""
    try:
        interval_ns = duration_ns(text)
    except ValueError as error:
        raise BadSetup(f"--interval: {error}.", "Write it as 1m, 5m or 1h.") from error
    if interval_ns % SECOND_NS:
        raise BadSetup(
            f"--interval {text} is no whole number of seconds.",
            "Bars are of whole seconds; write 1s, 1m, 5m or 1h.",
        )
    return interval_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading costs, and what the paper venue makes of the market."""

    taker_fee_rate: Decimal = Decimal("0.001")
    """fraction of notional"""
    maker_fee_rate: Decimal = Decimal("0")
    half_spread_rate: Decimal = Decimal("0")
    """fraction of price, paid by takers"""
    participation_max: Decimal = Decimal("0")
    """largest share of one tick's size that an order takes; 0: no limit"""
    latency_ns: int = 0
    """from the decision to the venue"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One backtest of one strategy on one instrument."""

    instrument_id: str
    strategy: str
    """implementation name of a trigger"""
    parameters: Mapping[str, str] = field(default_factory=dict)
    interval_ns: int = 60 * SECOND_NS
    quantity: Decimal = Decimal(1)
    cash: Decimal = Decimal(1_000_000)
    costs: Costs = field(default_factory=Costs)
    tick_size: Decimal = Decimal("1E-18")
    lot_size: Decimal = Decimal("0.00000001")
    drawdown_max: Decimal | None = None
    """share of the peak at which risk halts; None: it does not"""
    daily_loss_max: Decimal | None = None
    """share of NAV at the start of the UTC day at which risk halts"""
    data_digest: str = ""
    """of the columns that are run over, hex"""

    @property
    def has_stops(self) -> bool:
        """Whether losses between two decisions can stop the trading."""
        return self.drawdown_max is not None or self.daily_loss_max is not None

    @property
    def run_id(self) -> str:
        """Derived from all that the run depends on: the same backtest has the same id."""
        text = msgspec.json.encode(
            [
                self.instrument_id,
                self.strategy,
                dict(self.parameters),
                self.interval_ns,
                [str(value) for value in (self.quantity, self.cash, self.tick_size, self.lot_size)],
                [str(value) for value in _values(self.costs)],
                [str(self.drawdown_max), str(self.daily_loss_max)],
                self.data_digest,
            ],
            order="deterministic",
        )
        return f"backtest-{sha256(text).hexdigest()[:16]}"

    def records(self) -> tuple[Any, ...]:
        """The configuration, in an order in which every record finds what it names."""
        return (self.instrument(), self._venue(), self.account(), self.group(), self._mandate())

    def instrument(self) -> Instrument:
        """The one that is traded."""
        symbol, _, _ = self.instrument_id.partition(".")
        return Instrument(
            instrument_id=self.instrument_id,
            symbol=symbol,
            venue=self._venue_name,
            asset_class=AssetClass.UNKNOWN,
            currency=CURRENCY,
            tick_size=self.tick_size,
            lot_size=self.lot_size,
            quantity_min=self.lot_size,
            notional_min=Decimal(0),
            multiplier=Decimal(1),
            sector="",
            calendar="24/7",
            is_permitted=True,
            version=1,
        )

    @property
    def _venue_name(self) -> str:
        return self.instrument_id.partition(".")[2] or "PAPER"

    def _venue(self) -> Venue:
        costs = self.costs
        return Venue(
            venue=self._venue_name,
            adapter="paper",
            maker_fee_rate=costs.maker_fee_rate,
            taker_fee_rate=costs.taker_fee_rate,
            half_spread_rate=costs.half_spread_rate,
            latency_ns=costs.latency_ns,
            participation_max=costs.participation_max,
            # Shorts are lent for nothing, as the peers do; the assumptions say so.
            borrow_rate=Decimal(0),
            is_funding_charged=False,
            version=1,
        )

    def account(self) -> Account:
        """The one that trades."""
        return Account(
            account_id=ACCOUNT,
            shard=0,
            base_currency=CURRENCY,
            initial_cash=self.cash,
            venue=self._venue_name,
            mode=Mode.PAPER,
            version=1,
        )

    def group(self) -> TradingGroup:
        """The one that decides."""
        return TradingGroup(
            group_id=GROUP,
            kind=GroupKind.ALGORITHMIC,
            implementation="flip",
            account_id=ACCOUNT,
            universe=UNIVERSE,
            instruments=(self.instrument_id,),
            trigger_weights={self.strategy: 1.0},
            target_weight=Decimal(0),
            parameters={"quantity": f"{self.quantity:f}"},
            is_enabled=True,
            version=1,
        )

    def trigger(self) -> Trigger:
        """The strategy."""
        return Trigger(
            trigger=self.strategy,
            implementation=self.strategy,
            universe=UNIVERSE,
            instruments=(self.instrument_id,),
            interval_ns=self.interval_ns,
            parameters=dict(self.parameters),
            is_enabled=True,
            version=1,
        )

    def _mandate(self) -> Mandate:
        return Mandate(
            account_id=ACCOUNT,
            instruments=(self.instrument_id,),
            confidence_min=0.0,
            decision_age_max_ns=60 * SECOND_NS,
            # A mark is as old as the last tick of the bar that decides.
            mark_age_max_ns=max(60 * SECOND_NS, 2 * self.interval_ns),
            price_collar=NO_LIMIT,
            protective_distance_max=NO_LIMIT,
            position_weight_max=NO_LIMIT,
            gross_exposure_max=NO_LIMIT,
            leverage_max=NO_LIMIT,
            cash_reserve_min=-NO_LIMIT,
            daily_loss_max=NO_LIMIT if self.daily_loss_max is None else self.daily_loss_max,
            drawdown_max=NO_LIMIT if self.drawdown_max is None else self.drawdown_max,
            approval_ttl_ns=60 * SECOND_NS,
            allows_short=True,
            version=1,
        )

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the simulator takes for granted, in words."""
        fills = Assumption(
            name="fills",
            value="first later tick",
            meaning="an order meets the first tick behind the bar that decided",
        )
        return (fills, *assumed(self.records()))


def _values(costs: Costs) -> tuple[Any, ...]:
    return (
        costs.taker_fee_rate,
        costs.maker_fee_rate,
        costs.half_spread_rate,
        costs.participation_max,
        costs.latency_ns,
    )
