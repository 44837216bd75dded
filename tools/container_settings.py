"""Whether a container's environment is one that its process would start with.

The settings class of the process is made from exactly that environment, so a name that is not a
setting, a wrong value or a missing one is found before anything is deployed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from unittest.mock import patch

from tapeline.agents.llm.settings import endpoint_of
from tapeline.agents.settings import AgentsSettings
from tapeline.audit.settings import AuditSettings
from tapeline.cli.prepare import PrepareSettings
from tapeline.execution.external_state import OUTSIDE_MODES
from tapeline.execution.settings import ExecutionSettings
from tapeline.market_data.settings import MarketDataSettings
from tapeline.risk.settings import RiskSettings
from tapeline.runtime.exits import Failure
from tapeline.runtime.settings import ServiceSettings, load_settings

SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "tapeline.agents": AgentsSettings,
    "tapeline.audit": AuditSettings,
    "tapeline.cli.prepare": PrepareSettings,
    "tapeline.execution": ExecutionSettings,
    "tapeline.market_data": MarketDataSettings,
    "tapeline.risk": RiskSettings,
}
WITHOUT_SETTINGS = ("tapeline.agents.model_server", "tapeline.cli")
NEEDED: Mapping[str, tuple[str, ...]] = {
    "tapeline.audit": ("DATABASE_URL", "TAPELINE_KEYS_DIR", "TAPELINE_AUDIT_ANCHORS_DIR"),
    "tapeline.execution": ("TAPELINE_SHARDS", "TAPELINE_KEYS_DIR"),
    "tapeline.risk": ("TAPELINE_SHARDS", "TAPELINE_KEYS_DIR"),
}
"""What a process refuses to start without, although it has no place in the class."""
IMAGE_DEFAULTS = {"TAPELINE_HEALTH_HOST": "0.0.0.0", "TAPELINE_HEALTH_PORT": "8080"}
PASSFILE = re.compile(r"passfile=([^&]+)")
THIS_FILE = __file__


def module_of(image: str, command: Sequence[str]) -> str:
    """The Python module that a container runs: its command's, or its image's entry point."""
    if list(command[:2]) == ["python", "-m"]:
        return command[2]
    name = image.removeprefix("tapeline/").partition(":")[0]
    return f"tapeline.{name.replace('-', '_')}"


def _database_problems(
    module: str, environment: Mapping[str, str], mounted: Sequence[str]
) -> Iterator[str]:
    """A password that is not there; and execution, which writes down what it sends to venues, but
    on paper sends nothing."""
    url = environment.get("DATABASE_URL", "")
    for passfile in PASSFILE.findall(url):
        if not any(PurePosixPath(passfile).is_relative_to(folder) for folder in mounted):
            yield f"DATABASE_URL names {passfile}, where nothing is mounted"
    is_outside = environment.get("TAPELINE_MODE", "PAPER") in OUTSIDE_MODES
    if module == "tapeline.execution" and is_outside and not url:
        yield "DATABASE_URL is not set, for the intents"
    if module == "tapeline.execution" and url and not is_outside:
        yield "has a database, which a run on paper does not need"


def settings_problems(
    module: str, environment: Mapping[str, str], mounted: Sequence[str]
) -> list[str]:
    """What is wrong with an environment; `mounted` are the folders that exist in the container."""
    if module in WITHOUT_SETTINGS:
        return []
    if module not in SETTINGS:
        return [f"runs {module}, whose settings are not known here"]
    found = [f"{name} is not set" for name in NEEDED.get(module, ()) if not environment.get(name)]
    found += _database_problems(module, environment, mounted)
    values = {**IMAGE_DEFAULTS, **environment}
    for name, value in environment.items():
        if not name.endswith(("_FILE", "_DIR")) or not value:
            continue
        if not any(PurePosixPath(value).is_relative_to(folder) for folder in mounted):
            found.append(f"{name} is {value}, where nothing is mounted")
        if name.endswith("_FILE"):
            # It only has to be a file that can be read; the one meant is in the container.
            values[name] = THIS_FILE
    with patch.dict(os.environ, values, clear=True):
        try:
            settings = load_settings(SETTINGS[module])
            if isinstance(settings, AgentsSettings):
                endpoint_of(settings)
        except Failure as error:
            found.append(str(error).replace("\n", " "))
    return found
