"""The import rules bite: every one of them breaks over a module that violates it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT, files

PLANTS = {
    "layers": ("tapeline/accounting/planted.py", "import tapeline.runtime.ids"),
    "services": ("tapeline/risk/planted.py", "import tapeline.execution.order_table"),
    "replay": ("tapeline/cli/planted.py", "import tapeline.risk.core"),
    "pure": ("tapeline/agents/triggers/planted.py", "import time"),
    "runtime": ("tapeline/agents/triggers/planted.py", "import tapeline.runtime.kafka"),
}


def lint(contract: str, extra: Path) -> subprocess.CompletedProcess[str]:
    """Runs one import contract with a further portion of the namespace package."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", script, "--no-cache", "--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(extra)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("contract", PLANTS)
def test_an_import_across_a_line_is_found(contract: str, tmp_path: Path) -> None:
    path, source = PLANTS[contract]
    module = tmp_path / path
    module.parent.mkdir(parents=True)
    module.write_text(source + "\n")
    done = lint(contract, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "planted" in done.stdout


def test_the_tree_as_it_is_keeps_the_rules(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_package_is_in_the_layers_and_checked_for_its_types() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    layers = configured["importlinter"]["contracts"][0]["layers"]
    layered = {name for layer in layers for name in re.split(r"\W+", layer)}
    typed = {name.removeprefix("tapeline.") for name in configured["mypy"]["packages"]}
    there = {
        path.split("/src/tapeline/")[1].split("/")[0]
        for path in files(".py")
        if "/src/tapeline/" in path
    }
    assert there == layered == typed
