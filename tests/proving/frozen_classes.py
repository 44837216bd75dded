"""The dataclasses of the cores, and those among them that are made in C."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = (
    "tapeline.accounting",
    "tapeline.agents",
    "tapeline.contracts",
    "tapeline.execution",
    "tapeline.market_data",
    "tapeline.risk",
    "tapeline.runtime",
)


def modules(name: str) -> Iterator[Any]:
    """Those with dataclasses; by their files, for a folder may be a package without saying so."""
    package = importlib.import_module(name)
    for folder in package.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] != "__main__" and "@dataclass" in path.read_text():
                below = parts[:-1] if parts[-1] == "__init__" else parts
                yield importlib.import_module(".".join((name, *below)))


def classes() -> list[type[Any]]:
    """Every dataclass, by module and name."""
    found = {
        kind
        for name in PACKAGES
        for module in modules(name)
        for kind in vars(module).values()
        # Not those below one, which may have their own ways.
        if isinstance(kind, type) and "__dataclass_fields__" in vars(kind)
        if kind.__module__.startswith("tapeline.")
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


QUICK = [kind for kind in classes() if hasattr(kind, "__struct_fields__")]
"""that are made in C"""


def named(kind: type[Any]) -> str:
    """For the name of a test."""
    return f"{kind.__module__}.{kind.__qualname__}"
