"""Figures as people read them."""

from __future__ import annotations

from tapeline.backtest.report.figure import Figure, Unit

NOTHING = "–"


def shown(figure: Figure) -> str:
    """-4.45 %, 1.23, 1,234.50, 12.3 days; a dash where there is no value."""
    value = figure.value
    if value is None:
        return NOTHING
    match figure.unit:
        case Unit.SHARE:
            return share(value)
        case Unit.MONEY:
            return money(value)
        case Unit.DAYS:
            return days(value)
        case Unit.COUNT:
            return f"{value:,.0f}"
        case Unit.NUMBER:
            return plain(value)


def signed(figure: Figure) -> str:
    """A difference: +1.20 %, -3.00, or = where there is none."""
    if not figure.value:
        return "="
    text = shown(Figure(abs(figure.value), figure.unit))
    return f"+{text}" if figure.value > 0 else f"-{text}"


def share(value: float) -> str:
    """-4.45 %; small ones with the digits that show them."""
    percent = 100.0 * value
    if percent and abs(percent) < 0.01:
        return f"{percent:.2g} %"
    return f"{percent:,.2f} %"


def money(value: float) -> str:
    """1,234.50; small amounts with the digits that show them."""
    return plain(value)


def plain(value: float) -> str:
    """1.23; small ones with the digits that show them, and no zero with a sign."""
    if abs(value) >= 0.005:
        return f"{value:,.2f}"
    return "0.00" if abs(value) < 1e-6 else f"{value:.2g}"


def counted(count: int, one: str) -> str:
    """1 fill, 2 fills."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def days(value: float) -> str:
    """12.3 days, 5.0 hours, 12 minutes, 3 seconds."""
    if value >= 1:
        return f"{value:,.1f} days"
    hours = value * 24
    if hours >= 1:
        return f"{hours:.1f} hours"
    if hours * 60 >= 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours * 3600:.1f} seconds"
