"""How a recorded file is to be read: which columns hold what. A dataclass, or a few lines of TOML.

    path = "spy.parquet"            # relative to the TOML file
    kind = "trades"                 # trades, quotes, bars, macro or funding
    instrument_id = "SPY.ARCA"      # or instrument_column = "symbol" and venue = "BINANCE"
    time_column = "ts"
    time_unit = "ms"                # ns us ms s, or time_format = "%m/%d/%Y" for text
    price_column = "px"             # the others likewise; defaults are the plain names

Errors:
    FeedError   the TOML file or a value in it is wrong
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Self

from tapeline.contracts.market import TickOrigin
from tapeline.market_data.durations import UNITS_NS, duration_ns
from tapeline.market_data.feeds.interface import FeedError

KINDS: Final = ("trades", "quotes", "bars", "macro", "funding")
TIME_UNITS: Final = ("ns", "us", "ms", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One recorded file."""

    path: Path
    """CSV, CSV.gz or Parquet"""
    kind: str
    """trades, quotes, bars, macro or funding"""
    instrument_id: str = ""
    """fixed for the file; for macro the name of the series"""
    instrument_column: str = ""
    """or the column that holds it; `/` is dropped and `.venue` added"""
    venue: str = ""
    only: tuple[str, ...] = ()
    """values of instrument_column to keep; empty: all"""
    time_column: str = "ts_event_ns"
    """for bars the start of the interval"""
    time_unit: str = "ns"
    """of a number: ns, us, ms or s"""
    time_format: str = ""
    """of a text, as in strptime; UTC"""
    time_offset_ns: int = 0
    """added to every time, such as the hour of a daily close"""
    price_column: str = "price"
    size_column: str = "size"
    """empty: `default_size`"""
    default_size: float = 1.0
    side_column: str = ""
    """BUY, SELL or NONE, in any case"""
    trade_id_column: str = ""
    suspicious_column: str = ""
    """true where the source doubts the record"""
    bid_price_column: str = "bid_price"
    ask_price_column: str = "ask_price"
    bid_size_column: str = ""
    ask_size_column: str = ""
    open_column: str = "open"
    high_column: str = "high"
    low_column: str = "low"
    close_column: str = "close"
    volume_column: str = "volume"
    """empty: no volume"""
    interval_ns: int = 60 * UNITS_NS["s"]
    """length of the recorded bars, or of the time that a funding rate is paid for"""
    value_column: str = "value"
    rate_column: str = "rate"
    missing_values: tuple[str, ...] = ()
    """texts that stand for a missing value; such rows are left out"""
    start_ns: int = 0
    """records before are left out"""
    end_ns: int = 2**63 - 1
    """records at or behind are left out"""
    must_sort: bool = False
    """the file is not in order of time: sort it in memory"""
    silence_ns_max: int = 0
    """longer silence of an instrument is a gap; 0: silence means nothing"""
    origin: TickOrigin = TickOrigin.EXCHANGE

    def __post_init__(self) -> None:
        """Raises FeedError for a mapping that contradicts itself."""
        where = f"The mapping of {self.path.name}"
        if self.kind not in KINDS:
            raise FeedError(f"{where} has kind {self.kind!r}.", f"Use {', '.join(KINDS)}.")
        if bool(self.instrument_id) == bool(self.instrument_column):
            raise FeedError(
                f"{where} must name the instrument once.",
                "Set instrument_id for the whole file, or instrument_column.",
            )
        if self.time_unit not in TIME_UNITS:
            raise FeedError(
                f"{where} has time_unit {self.time_unit!r}.", f"Use {', '.join(TIME_UNITS)}."
            )
        if self.interval_ns <= 0 or self.start_ns >= self.end_ns:
            raise FeedError(
                f"{where} has an empty window or interval.", "Check interval, start and end."
            )

    def columns(self) -> dict[str, str]:
        """Role to column name, of the columns that the kind needs."""
        roles = {"time": self.time_column, "instrument": self.instrument_column}
        roles |= {
            "trades": {
                "price": self.price_column,
                "size": self.size_column,
                "side": self.side_column,
                "trade_id": self.trade_id_column,
                "suspicious": self.suspicious_column,
            },
            "quotes": {
                "bid_price": self.bid_price_column,
                "ask_price": self.ask_price_column,
                "bid_size": self.bid_size_column,
                "ask_size": self.ask_size_column,
                "suspicious": self.suspicious_column,
            },
            "bars": {
                "open": self.open_column,
                "high": self.high_column,
                "low": self.low_column,
                "close": self.close_column,
                "volume": self.volume_column,
            },
            "macro": {"value": self.value_column},
            "funding": {"rate": self.rate_column},
        }[self.kind]
        return {role: column for role, column in roles.items() if column}

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Reads a mapping file; raises FeedError for what is not understood."""
        try:
            data = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise FeedError(
                f"The mapping file {path} cannot be read: {error}.", "Correct it; it is TOML."
            ) from error
        known = {field.name for field in fields(cls)}
        values: dict[str, object] = {}
        for name, value in data.items():
            target = f"{name}_ns" if f"{name}_ns" in known else name
            if target not in known:
                raise FeedError(
                    f"{path}: {name!r} is no field of a mapping.",
                    f"The fields are {', '.join(sorted(known))}.",
                )
            values[target] = _value(path, name, target, value)
        try:
            mapping = cls(**values)  # type: ignore[arg-type]  # from_toml has no types to offer
        except TypeError as error:
            raise FeedError(f"{path}: {error}.", "A mapping needs path and kind.") from error
        return replace(mapping, path=path.parent / mapping.path)


def _value(path: Path, name: str, target: str, value: object) -> object:
    try:
        if target == "path":
            return Path(str(value))
        if target == "origin":
            return TickOrigin(str(value))
        if target in ("interval_ns", "time_offset_ns", "silence_ns_max") and value:
            return value if isinstance(value, int) else duration_ns(str(value))
    except ValueError as error:
        raise FeedError(f"{path}: {name}: {error}.", "Correct the value.") from error
    return tuple(value) if isinstance(value, list) else value
