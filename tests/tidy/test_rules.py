"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import PurePath

import pytest
from repository import ROOT, files, text_of, written_python

THIS = "tests/tidy/test_rules.py"
MACHINE_PATHS = re.compile(r"(?<![\w.$}/-])/(work|farm|root)(/|\b)|(?<![\w.$}/-])/tmp/\w|/home/\w")
REGISTRIES = re.compile(
    r"py(?:pi)\.org|python(?:hosted)\.org|registry-\d|(quay|ghcr|gcr|docker)\.io|repo1?\.mav(?:en)|npm(?:js)\."
    r"|--(extra-)?index-url|--find-links|--trusted-host|artifactory|nexus\."
)
UNREFERENCED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(https://)")
OPTIMIZED = re.compile(r"python[\d.]*[\s\",']+-OO?\b|PYTHONOPTIMIZE")
CORES = (
    "services/*/src/tapeline/*/core.py",
    "services/*/src/tapeline/*/*_core.py",
    "services/*/src/tapeline/*/*_stage.py",
    "services/execution/src/tapeline/execution/venues/paper*.py",
    "libs/accounting/src/tapeline/accounting/*.py",
)
ASKS = """import datetime
import random
import time
import uuid

asked = (time.time(), datetime.datetime.now(), uuid.uuid4(), random.random())
"""


def lines_with(pattern: re.Pattern[str], paths: list[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in paths
        if path != THIS
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]


def cores() -> list[str]:
    return [path for path in files(".py") if any(PurePath(path).match(core) for core in CORES)]


def test_no_file_names_a_place_of_one_machine() -> None:
    assert lines_with(MACHINE_PATHS, files()) == []


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRIES, files()) == [], "registries belong into a user's own settings"


def test_what_is_left_to_do_is_written_down_where_it_is_followed() -> None:
    assert lines_with(UNREFERENCED, files()) == [], "write TODO(https://...), or do it"


def test_nothing_runs_without_asserts() -> None:
    paths = [path for path in files() if path != "pyproject.toml"]
    assert lines_with(OPTIMIZED, paths) == [], "asserts state what must hold; they are never off"


def test_links_of_the_docs_resolve() -> None:
    for path in files(".md"):
        folder = (ROOT / path).parent
        for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text_of(path)):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            name, _, anchor = target.partition("#")
            found = (folder / name).resolve() if name else ROOT / path
            assert found.exists(), f"{path}: [{label}]({target}) leads nowhere"
            if anchor and found.suffix == ".md":
                assert anchor in anchors(found.read_text()), f"{path}: {target} has no such heading"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_code_is_fresh() -> None:
    command = [sys.executable, "tools/generate_contracts.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("core", cores())
def test_a_core_that_asks_for_time_or_chance_does_not_pass_the_linter(core: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", core]
    done = subprocess.run([*ruff, "-"], cwd=ROOT, input=ASKS, capture_output=True, text=True)
    for name in ("time.time", "datetime.datetime.now", "uuid.uuid4", "random"):
        assert f"`{name}` is banned" in done.stdout


def test_cores_do_not_go_through_sets() -> None:
    assert cores()
    for path in cores():
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.For | ast.comprehension):
                name = set_name(node.iter)
                assert not name, f"{path} goes through a {name}; its order differs from run to run"


def set_name(node: ast.expr) -> str:
    if isinstance(node, ast.Set | ast.SetComp):
        return "set"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in ("set", "frozenset") else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_set = node.func.attr in ("union", "intersection", "difference", "symmetric_difference")
        return node.func.attr if is_set else ""
    return ""


def test_errors_are_not_swallowed_wholesale() -> None:
    for path in written_python():
        for node in ast.walk(ast.parse(text_of(path))):
            is_bare = isinstance(node, ast.ExceptHandler) and node.type is None
            assert not is_bare, f"{path}:{getattr(node, 'lineno', 0)} catches everything"
