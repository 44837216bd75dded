"""The market regime as the economist must take it: the rule of the market_regime trigger.

The regime is a rule, not an opinion (see tapeline.agents.triggers.market_regime for its table). It
sets the multiplier of every weight cap; a model may comment on it and never change it. Where the
VIX or its momentum is not known the regime is TRANSITION: not knowing is no reason for full size.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.agents.triggers.market_regime import MarketRegime, Regime

RISK_MULTIPLIERS: Final = {
    Regime.RISK_ON: Decimal("1"),
    Regime.NEUTRAL: Decimal("0.75"),
    Regime.TRANSITION: Decimal("0.5"),
    Regime.RISK_OFF: Decimal("0.25"),
}
_RULE: Final = MarketRegime(name="market_regime")


def regime_of(vix: float | None, momentum: float | None) -> Regime:
    """The regime; `vix` in index points, `momentum` that of risk appetite as a fraction (positive
    while the index falls), None where not known."""
    if vix is None or momentum is None:
        return Regime.TRANSITION
    return _RULE.regime(vix, momentum)
