"""The rules that execution's settings make: noted with a run, and used again by its replay.

Limits are records on `config`; these few are settings of the process, and change what its core
says all the same, such as how old a sign of life of risk may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tapeline.backtest.run_replay import MoneyCores
from tapeline.execution.admission import Rules
from tapeline.execution.core import ExecutionCore
from tapeline.execution.settings import ExecutionSettings
from tapeline.risk.core import RiskCore
from tapeline.runtime.settings import load_settings


def rules_of_environment() -> dict[str, int]:
    """By name, as execution takes them from this process's environment; raises SettingsError."""
    return asdict(load_settings(ExecutionSettings).rules())


def cores_under(rules: Mapping[str, int]) -> MoneyCores:
    """The cores of a run with such rules; those that are not named are as by default."""
    found = Rules(**rules)
    return (("risk", 0, RiskCore), ("execution", 1, lambda context: ExecutionCore(context, found)))
