"""What a simulation says when something that must hold does not."""

from __future__ import annotations


class Broken(AssertionError):
    """An invariant does not hold; `name` is that of the invariant."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


def require(holds: bool, name: str, detail: object = "") -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(name, str(detail))
