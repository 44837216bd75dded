"""Mutation score of the money path: how many small changes of the code its tests notice.

    python tools/mutation.py [--group NAME] [--file TEXT] [--share 0.3 --seed 7] [--again]

Each mutant runs in a forked child of a pytest session that has collected the tests: the code of
the changed function is exchanged there and the tests that come to it (found in one run with nothing
changed) run until one fails. A change outside of functions (constants, tables) is imported in place
of the real module, in a session of its own.
What was noticed is kept in .tapeline/mutation/ and not tried again while the file stays as it is
(--again forgets it); survivors always run again. --share takes a sample: which mutants are in it
follows from the seed alone.

Survivors that cannot be told from the original are listed with a reason in
tools/mutation_exclusions.toml; they may be 5 % of a group at most.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import inspect
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import IO, Any, Final

import reaching
from mutants import Mutant, mutants_of
from reaching import passes
from repository import ROOT

CACHE: Final = ROOT / ".tapeline" / "mutation"
EXCLUSIONS: Final = ROOT / "tools" / "mutation_exclusions.toml"
EXCLUDED_SHARE_MAX: Final = 0.05
RUN: Final = os.getpid()
FAST: Final = "TAPELINE_TEST_MUTATION_FAST"
"""set: leaves the tests of hypothesis out, for a first look"""
COMPREHENSIONS: Final = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")
"""outside of functions they belong to the module"""
UNITS: Final = "not slow and not kafka and not postgres and not data"
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
                for name in (
                    *("guards", "entry_guards", "market_guards", "pace_guards", "authors"),
                    *("limits", "bound", "size_rules", "sizing", "in_force"),
                )
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
            for name in (
                *("life_cycle", "order_table", "bookkeeping", "parents", "schedules"),
                *("scheduling", "amendments", "external", "venue_truth"),
            )
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


def by_import(mutant: Mutant, tests: Sequence[str]) -> int:
    """Tests with the whole module imported from the changed source; for constants and tables."""
    compiled = compile(mutant.source, str(ROOT / mutant.path), "exec")
    sys.meta_path.insert(0, MutantFinder(module_of(mutant.path), ROOT / mutant.path, compiled))
    return run_tests(tests, [Nearest(mutant.path, reached_by(tests))])


class Nearest:
    """Leaves those tests that come to a file, the quickest first, and those beside that name its
    module, for they may read a constant and call nothing; all, where that is not known."""

    def __init__(self, path: str, place: Path) -> None:
        self._path = str(ROOT / path)
        self._place = place
        self._name = Path(path).stem

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """pytest's hook."""
        if self._place.exists():
            reached = reaching.noted(items, self._place)
            assert reached is not None
            comes = reached.items_at(items, self._path)
            coming = {item.nodeid for item in comes}
            names = [item for item in items if item.nodeid not in coming and self._is_named(item)]
            items[:] = [*comes, *names] or items

    def _is_named(self, item: Any) -> bool:
        return self._name in item.path.read_text()


def reached_by(tests: Sequence[str]) -> Path:
    """Where this run notes what its tests come to."""
    name = hashlib.sha256("/".join(tests).encode()).hexdigest()[:12]
    return CACHE / f"reached-{RUN}-{name}"


def run_tests(tests: Sequence[str], plugins: list[object]) -> int:
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
    plain = ["--hypothesis-profile=mutation", "-x", "-qq", "-p", "no:cacheprovider"]
    plain += ["-o", "timeout=0", "-m", UNITS]
    # pytest would rewrite the asserts of plugins that are loaded already.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*plain, *quiet, *tests], plugins=plugins))


# ---- one mutant, without importing anything anew


def changed_function(mutant: Mutant, original: str) -> tuple[str, CodeType] | None:
    """(qualified name, new code) of the one function that differs; None where it is not within
    a function that stands in the module or in a class."""
    path = str(ROOT / mutant.path)
    old = dict(_functions(compile(original, path, "exec")))
    new = dict(_functions(compile(mutant.source, path, "exec")))
    differing = [name for name in old if new.get(name) != old[name]]
    if len(differing) != 1 or old.keys() != new.keys() or differing[0][0] == "<module>":
        return None
    return differing[0][0], new[differing[0]]


def _functions(module: CodeType) -> list[tuple[tuple[str, int], CodeType]]:
    """Functions of a module and of its classes, and the module without them."""
    found = []
    for part in module.co_consts:
        if not isinstance(part, CodeType):
            continue
        is_function = bool(part.co_flags & inspect.CO_NEWLOCALS)
        if part.co_name in COMPREHENSIONS:
            continue
        if is_function:
            found.append(((part.co_qualname, part.co_firstlineno), part))
        else:
            found += _functions(part)
    rest = tuple(
        part
        for part in module.co_consts
        if not isinstance(part, CodeType) or part.co_name in COMPREHENSIONS
    )
    name = "<module>" if module.co_name == "<module>" else module.co_qualname
    bare = module.replace(co_consts=rest, co_name="<module>", co_qualname="<module>")
    return [*found, (("<module>", hash(name)), bare)]


class Bench:
    """Within one pytest session: for each mutant a child with that function's code exchanged, and
    the tests that come to that function, the quickest first."""

    def __init__(
        self,
        path: str,
        mutants: Sequence[tuple[Mutant, str, CodeType]],
        place: Path,
        told: IO[str],
    ) -> None:
        self._path = str(ROOT / path)
        self._mutants = mutants
        self._place = place
        self._told = told

    def pytest_runtestloop(self, session: Any) -> bool:
        """pytest's hook: in place of running the tests once."""
        items = list(session.items)
        if os.environ.get(FAST):
            items = [item for item in items if not _searches(item)]
        reached = reaching.noted(items, self._place)
        self._tell(bool(items) and reached is not None)
        if reached is None:
            return True
        functions = self._functions()
        for _, name, code in self._mutants:
            live = functions.get((name, code.co_firstlineno), [])
            assert live, f"{name} is not in memory"
            chosen = reached.items_at(items, self._path, name)
            self._tell(
                not passes(
                    lambda code=code, live=live, chosen=chosen: _run_changed(chosen, live, code)  # type: ignore[misc]
                )
            )
        return True

    def _tell(self, answer: bool) -> None:
        self._told.write(f"{json.dumps(answer)}\n")
        self._told.flush()

    def _functions(self) -> dict[tuple[str, int], list[FunctionType]]:
        found: dict[tuple[str, int], list[FunctionType]] = {}
        for one in gc.get_objects():
            if isinstance(one, FunctionType) and one.__code__.co_filename == self._path:
                key = (one.__code__.co_qualname, one.__code__.co_firstlineno)
                found.setdefault(key, []).append(one)
        return found


def _run_changed(items: Sequence[Any], live: Sequence[FunctionType], code: CodeType) -> int:
    for function in live:
        function.__code__ = code
    return reaching.run(items)


def _searches(item: Any) -> bool:
    """Tests of hypothesis, which take longest."""
    return hasattr(getattr(item, "obj", None), "hypothesis")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which mutants are tried."""

    file: str
    """in the path of their file"""
    share: float
    """of them, 0 to 1"""
    seed: int
    is_again: bool

    def takes(self, mutant: Mutant) -> bool:
        """Whether a mutant is in the sample."""
        name = f"{self.seed}/{mutant.path}/{mutant.key}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:8]) < self.share * 2**64


def run_group(group: Group, choice: Choice) -> list[Score]:
    """The chosen mutants of the group's files."""
    scores = []
    for path, tests in group.files.items():
        if choice.file in path:
            scores.append(run_file(path, tests, choice))
            print(_row(scores[-1]), flush=True)
    return scores


def run_file(path: str, tests: Sequence[str], choice: Choice) -> Score:
    """The chosen mutants of one file."""
    source, listed, known = (ROOT / path).read_text(), exclusions(), _known(path, choice.is_again)
    score = Score(path)
    counted = []
    for mutant in mutants_of(path, source):
        if not choice.takes(mutant):
            continue
        if is_excluded(mutant, listed):
            score.excluded += 1
        else:
            counted.append(mutant)
    for mutant, is_killed in tried([one for one in counted if not known.get(one.key)], tests):
        known[mutant.key] = is_killed
        _keep(path, known)
    for mutant in counted:
        score.killed += known[mutant.key]
        if not known[mutant.key]:
            score.survived += 1
            print(f"survived {path}:{mutant.line} {mutant.key}", flush=True)
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    return score


def tried(mutants: Sequence[Mutant], tests: Sequence[str]) -> Iterator[tuple[Mutant, bool]]:
    """Mutants of one file with whether the tests noticed them."""
    if not mutants:
        return
    path = mutants[0].path
    source = (ROOT / path).read_text()
    within = [(one, changed_function(one, source)) for one in mutants]
    # These first: they note what the tests come to.
    yield from exchanged(path, tests, [(one, *found) for one, found in within if found])
    for mutant, found in within:
        if found is None:
            yield mutant, not passes(lambda mutant=mutant: by_import(mutant, tests))  # type: ignore[misc]


def exchanged(
    path: str, tests: Sequence[str], mutants: Sequence[tuple[Mutant, str, CodeType]]
) -> Iterator[tuple[Mutant, bool]]:
    """Runs them all within one session of pytest, in a child that tells one by one through a pipe:
    first whether the tests pass with nothing changed, then of each mutant whether they noticed."""
    if not mutants:
        return
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            with os.fdopen(writer, "w") as told:
                run_tests(tests, [Bench(path, mutants, reached_by(tests), told)])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        if not json.loads(answers.readline() or "false"):
            raise SystemExit(f"the tests of {path} fail before anything is changed")
        for (mutant, _, _), answer in zip(mutants, answers, strict=True):
            yield mutant, json.loads(answer)
    os.waitpid(child, 0)


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
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants; 0.3 of them")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", action="store_true", help="use no earlier results")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    preload()
    choice = Choice(
        file=options.file, share=options.share, seed=options.seed, is_again=options.again
    )
    chosen = [group for group in GROUPS if options.group in group.name]
    try:
        results = [(group, run_group(group, choice)) for group in chosen]
    finally:
        for place in CACHE.glob(f"reached-{RUN}-*"):
            place.unlink()
    print()
    is_good = [report(group, scores) for group, scores in results]
    return 0 if all(is_good) else 1


if __name__ == "__main__":
    sys.exit(main())
