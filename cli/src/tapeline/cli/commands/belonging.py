"""Which options belong to which source: one that would go unheard is an error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from tapeline.runtime.exits import USAGE, Failure

OF_CHAINS: Final = {
    "instruments": "--instruments",
    "groups": "--groups",
    "settings": "--set",
    "feed_options": "--feed-option",
    "llm": "--llm",
    "run_id": "--run-id",
}
"""Of presets and recorded runs, by parameter of the command."""
OF_FILES: Final = {
    "columns": "--columns",
    "time_format": "--time-format",
    "instrument": "--instrument",
    "strategy": "--strategy",
    "interval": "--interval",
    "fee_taker": "--fee-taker",
    "slippage": "--slippage",
    "fill": "--fill",
    "quantity": "--quantity",
    "cash": "--cash",
    "drawdown_max": "--drawdown-max",
    "daily_loss_max": "--daily-loss-max",
    "scalar": "--scalar",
    "calendar": "--calendar",
}
"""Of one strategy over a file."""


class Unheard(Failure):
    """An option was given that this source has no use for."""

    exit_code = USAGE


def require_heard(command: Callable[..., None], given: Mapping[str, Any], *, is_file: bool) -> None:
    """Raises Unheard where an option of the other kind of source is not as it is by default."""
    parameters = inspect.signature(command).parameters
    others = OF_CHAINS if is_file else OF_FILES
    named = [
        option
        for name, option in others.items()
        if name in given and given[name] != parameters[name].default
    ]
    if named:
        source = "a file (--trades, --bars)" if is_file else "a preset or a recorded run"
        remedy = (
            "Costs and sizes of a file are --fee-taker, --slippage, --quantity and --cash."
            if is_file
            else "A preset or run has them in its configuration: change that with --set and "
            "--param, such as --set venue.*.taker_fee_rate=0.001."
        )
        raise Unheard(f"{', '.join(named)} means nothing over {source}.", remedy)
