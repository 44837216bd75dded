"""Mutation score of the money path: how many small changes of the code its tests notice.

    python tools/mutation.py [--group NAME] [--file TEXT] [--again]

Each mutant runs in a forked child of a process that has the libraries loaded: the mutated module
is imported in place of the real one, and pytest runs the tests that reach the changed line, as
recorded by coverage. What was noticed is kept in .tapeline/mutation/ and not tried again while the
file stays as it is (--again forgets it); survivors always run again.

Survivors that cannot be told from the original are listed with a reason in
tools/mutation_exclusions.toml; they may be 5 % of a group at most.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from mutants import Mutant, mutants_of
from repository import ROOT

CACHE: Final = ROOT / ".tapeline" / "mutation"
EXCLUSIONS: Final = ROOT / "tools" / "mutation_exclusions.toml"
EXCLUDED_SHARE_MAX: Final = 0.05
LIMIT_S: Final = 60
RISK, EXECUTION = "services/risk", "services/execution"
RISK_SOURCE = f"{RISK}/src/tapeline/risk"
EXECUTION_SOURCE = f"{EXECUTION}/src/tapeline/execution"
RUNTIME_SOURCE = "libs/runtime/src/tapeline/runtime"
PRELOADED: Final = (
    *("pytest", "_pytest", "hypothesis", "fastavro", "msgspec", "pydantic", "pydantic_settings"),
    *("cryptography.hazmat.primitives.asymmetric.ed25519", "structlog", "confluent_kafka"),
    *("prometheus_client", "tapeline.contracts.registry", "tapeline.contracts.topics"),
)
"""Without anything of ours that a mutant could stand in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files with the tests that answer for them."""

    name: str
    wanted: float
    """share of the mutants that tests must notice"""
    files: dict[str, tuple[str, ...]]
    """source file -> test files or folders"""


GROUPS: Final = (
    Group(
        name="guards-and-approval",
        wanted=0.95,
        files={
            **{
                f"{RISK_SOURCE}/{name}.py": (f"{RISK}/tests",)
                for name in ("guards", "entry_guards", "limits", "sizing")
            },
            **{
                f"{RUNTIME_SOURCE}/{name}.py": (
                    "libs/runtime/tests/test_keys.py",
                    "libs/runtime/tests/test_signing.py",
                )
                for name in ("keys", "signing")
            },
            **{
                f"{EXECUTION_SOURCE}/{name}.py": (f"{EXECUTION}/tests",)
                for name in ("admission", "last_look")
            },
        },
    ),
    Group(
        name="order-life-cycle",
        wanted=0.85,
        files={
            f"{EXECUTION_SOURCE}/{name}.py": (f"{EXECUTION}/tests",)
            for name in ("life_cycle", "order_table", "bookkeeping", "external", "venue_truth")
        },
    ),
)


# ---- one mutant


class MutantFinder(MetaPathFinder, Loader):
    """Imports one module from a changed source."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        self._module = module
        self._path = path
        self._code = code

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Its own module, and no other."""
        if fullname != self._module:
            return None
        return spec_from_loader(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        """Runs the changed code."""
        module.__file__ = str(self._path)
        exec(self._code, module.__dict__)


def module_of(path: str) -> str:
    """The module's name: what follows src/."""
    return path.split("/src/")[1].removesuffix(".py").replace("/", ".")


class Chosen:
    """Keeps the tests that reach a line, the plain ones before those that search."""

    def __init__(self, names: frozenset[str] | None) -> None:
        self._names = names

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """pytest's hook."""
        if self._names is not None:
            names = self._names
            items[:] = [item for item in items if _context(item) in names or _searches(item)]
        items.sort(key=_searches)


def _context(item: Any) -> str:
    return f"{Path(str(item.path)).stem}.{item.originalname}"


def _searches(item: Any) -> bool:
    """Tests of hypothesis: coverage sees the search, not the test, so they always run, last."""
    return hasattr(getattr(item, "obj", None), "hypothesis")


def survives(mutant: Mutant, tests: Sequence[str], names: frozenset[str] | None) -> bool:
    """Whether all tests pass with the mutant in place; it runs in a child of its own."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    try:
        code = _run(mutant, tests, names)
    except BaseException:  # noqa: BLE001 - whatever a mutant raises, it was noticed
        code = 1
    os._exit(code)


def _run(mutant: Mutant, tests: Sequence[str], names: frozenset[str] | None) -> int:
    signal.alarm(LIMIT_S)  # ends the child: a mutant that hangs is noticed
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    compiled = compile(mutant.source, str(ROOT / mutant.path), "exec")
    sys.meta_path.insert(0, MutantFinder(module_of(mutant.path), ROOT / mutant.path, compiled))
    return run_tests(tests, names)


def run_tests(tests: Sequence[str], names: frozenset[str] | None) -> int:
    """Runs pytest in this process; hypothesis searches the same examples each time."""
    import pytest
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=60,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")
    plain = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not kafka and not postgres"]
    # pytest would rewrite the asserts of plugins that are loaded already.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*plain, *quiet, *tests], plugins=[Chosen(names)]))


# ---- which tests reach which line


def reached(
    group_tests: Sequence[str], files: Sequence[str]
) -> dict[str, dict[int, frozenset[str]]]:
    """file -> line -> names of the tests that run it; import time alone is under no name."""
    data = CACHE / "coverage.sqlite"
    report = CACHE / "coverage.json"
    python = [sys.executable, "-m", "coverage"]
    include = ",".join(str(ROOT / path) for path in files)
    config = CACHE / "coveragerc"
    config.write_text(f"[run]\ndynamic_context = test_function\ndata_file = {data}\n")
    plain = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not kafka and not postgres"]
    run = [*python, "run", f"--rcfile={config}", f"--include={include}"]
    done = subprocess.run(
        [*run, "-m", "pytest", *plain, *group_tests], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"the tests fail before anything is changed:\n{done.stdout[-2000:]}")
    export = [*python, "json", f"--rcfile={config}", "--show-contexts", "-q", "-o", str(report)]
    subprocess.run(export, cwd=ROOT, check=True)
    found = json.loads(report.read_text())["files"]
    return {
        path: {
            int(line): frozenset(".".join(name.split(".")[-2:]) for name in names if name)
            for line, names in content["contexts"].items()
        }
        for path, content in found.items()
    }


def require_control(path: str, tests: Sequence[str], lines: dict[int, frozenset[str]]) -> None:
    """The file as it is must pass the same way, or every mutant would seem to be noticed."""
    source = (ROOT / path).read_text()
    names = frozenset(name for found in lines.values() for name in found)
    control = Mutant(
        path=path, operator="none", occurrence=0, line=0, before="", after="", source=source
    )
    if not names or not survives(control, tests, names):
        raise SystemExit(f"{path} fails its tests unchanged, or no test reaches it")


# ---- a group


@dataclass(slots=True)
class Score:
    """What a file came to."""

    path: str
    killed: int = 0
    survived: int = 0
    excluded: int = 0

    @property
    def share(self) -> float:
        """Of what is not excluded, what tests noticed."""
        counted = self.killed + self.survived
        return self.killed / counted if counted else 1.0


def exclusions() -> list[dict[str, str]]:
    """Equivalent mutants: file, before, after, reason."""
    found: list[dict[str, str]] = tomllib.loads(EXCLUSIONS.read_text()).get("exclusion", [])
    return found


def is_excluded(mutant: Mutant, listed: Sequence[dict[str, str]]) -> bool:
    """Whether a mutant is on the list; by its text, as numbers of lines move."""
    return any(
        mutant.path.endswith(one["file"])
        and mutant.before == one["before"]
        and mutant.after == one["after"]
        for one in listed
    )


def run_group(group: Group, chosen: str, *, is_again: bool) -> tuple[list[Score], list[Mutant]]:
    """Every mutant of the group's files that `chosen` is part of."""
    files = {path: tests for path, tests in group.files.items() if chosen in path}
    scores, survivors = [], []
    listed = exclusions()
    for tests in dict.fromkeys(files.values()):
        paths = [path for path in files if files[path] == tests]
        lines = reached(tests, paths)
        for path in paths:
            require_control(path, tests, lines.get(path, {}))
            score = Score(path)
            known = _known(path, is_again)
            for mutant in mutants_of(path, (ROOT / path).read_text()):
                if is_excluded(mutant, listed):
                    score.excluded += 1
                    continue
                is_killed = known.get(mutant.key)
                if not is_killed:
                    names = lines.get(path, {}).get(mutant.line) or None
                    is_killed = not survives(mutant, tests, names)
                    known[mutant.key] = is_killed
                    _keep(path, known)
                score.killed += is_killed
                score.survived += not is_killed
                if not is_killed:
                    survivors.append(mutant)
                    print(f"survived {path}:{mutant.line} {mutant.key}", flush=True)
                    print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
            scores.append(score)
            print(_row(score), flush=True)
    return scores, survivors


def _cache_of(path: str) -> Path:
    return CACHE / f"{path.replace('/', '.')}.json"


def _known(path: str, is_again: bool) -> dict[str, bool]:
    """What earlier runs found about the file as it is."""
    place = _cache_of(path)
    if is_again or not place.exists():
        return {}
    kept = json.loads(place.read_text())
    # Further tests notice no less; a changed file has other mutants.
    is_same = kept["source"] == hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    return dict(kept["killed"]) if is_same else {}


def _keep(path: str, known: dict[str, bool]) -> None:
    source = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    kept = {"source": source, "killed": known}
    _cache_of(path).write_text(json.dumps(kept))


def _row(score: Score) -> str:
    counts = f"{score.killed:5} {score.survived:8} {score.excluded:8}"
    return f"{score.path:66} {counts} {score.share:7.1%}"


def report(group: Group, scores: Sequence[Score]) -> bool:
    """Prints the table of a group; whether it is good enough."""
    total = Score(f"{group.name}, wanted {group.wanted:.0%}")
    print(f"{'':66} {'killed':>5} {'survived':>8} {'excluded':>8}   score")
    for score in scores:
        print(_row(score))
        total.killed += score.killed
        total.survived += score.survived
        total.excluded += score.excluded
    print(_row(total), flush=True)
    every = total.killed + total.survived + total.excluded
    if total.excluded > EXCLUDED_SHARE_MAX * every:
        print(f"{total.excluded} of {every} are excluded; at most {EXCLUDED_SHARE_MAX:.0%} may be")
        return False
    return total.share >= group.wanted


def preload() -> None:
    """Loads what every child needs and no mutant can stand in."""
    for name in PRELOADED:
        __import__(name)


def main() -> int:
    """Exit code 1 where a group falls short."""
    parser = argparse.ArgumentParser(description=__doc__, prog="tools/mutation.py")
    parser.add_argument("--group", default="", help="one group only")
    parser.add_argument("--file", default="", help="only files with this in their path")
    parser.add_argument("--again", action="store_true", help="use no earlier results")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    preload()
    results = []
    for group in GROUPS:
        if options.group in group.name:
            scores, _ = run_group(group, options.file, is_again=options.again)
            results.append((group, scores))
    print()
    is_good = [report(group, scores) for group, scores in results]
    return 0 if all(is_good) else 1


if __name__ == "__main__":
    sys.exit(main())
