"""Options that several commands share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

RunName = Annotated[
    str, typer.Option("--run", "-r", help="Run to look at; the newest where not given.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document or line, for scripts.")]


def print_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, indent=2))


def print_line(value: Any) -> None:
    """One JSON line."""
    typer.echo(json.dumps(value))
