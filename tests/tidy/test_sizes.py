"""Files and functions stay small, and modules are named for what they are.

What was larger when the limit came is listed with its size: it may shrink, never grow, and its
entry goes once it fits.
"""

from __future__ import annotations

import ast
import re
from pathlib import PurePath

from repository import files, text_of, written_python

FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 6
MAKE_TARGETS_MAX = 15
README_LINES_MAX = 60
APP_LINES_MAX = 130
LARGER_FILES: dict[str, int] = {}
MORE_PARAMETERS = {
    "cli/src/tapeline/cli/stack/stack.py __init__": 7,
    "libs/runtime/src/tapeline/runtime/shard.py __init__": 8,
}
BANNED_NAMES = ("utils", "util", "common", "helpers", "shared", "base", "misc", "manager")


def is_test(path: str) -> bool:
    return "tests" in PurePath(path).parts


def functions(path: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def parameter_count(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    listed = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return len([parameter for parameter in listed if parameter.arg not in ("self", "cls")])


def test_no_module_is_named_for_nothing() -> None:
    found = [
        path
        for path in files(".py")
        for part in PurePath(path).with_suffix("").parts
        if part.strip("_") in BANNED_NAMES or part.endswith(("_utils", "_helpers", "_manager"))
    ]
    assert found == [], "name a module for what it is"


def test_no_file_is_too_long() -> None:
    for path in written_python():
        limit = TEST_FILE_LINES_MAX if is_test(path) else FILE_LINES_MAX
        lines = text_of(path).count("\n")
        assert lines <= LARGER_FILES.get(path, limit), f"{path} has {lines} lines; split it"
        assert path not in LARGER_FILES or lines > limit, f"{path} fits: remove it from the list"


def test_no_function_is_too_long() -> None:
    for path in written_python():
        for function in functions(path):
            lines = (function.end_lineno or 0) - function.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{path} {function.name} has {lines} lines"


def test_no_function_takes_too_many_parameters() -> None:
    # Commands take an option each.
    for path in written_python():
        if is_test(path) or path.startswith("cli/src/tapeline/cli/commands/"):
            continue
        for function in functions(path):
            name, count = f"{path} {function.name}", parameter_count(function)
            assert count <= MORE_PARAMETERS.get(name, PARAMETERS_MAX), f"{name} takes {count}"


def test_wiring_stays_wiring() -> None:
    for path in files("/app.py"):
        if path.startswith("services/") and PurePath(path).parts[-3] == "tapeline":
            assert text_of(path).count("\n") <= APP_LINES_MAX, f"{path}: move logic out of app.py"


def test_every_service_has_a_short_readme_with_the_usual_headings() -> None:
    wanted = ["Purpose", "Topics in/out", "Settings", "Invariants", "Run", "Fails when"]
    for project in files("/pyproject.toml"):
        if not project.startswith("services/"):
            continue
        path = project.replace("pyproject.toml", "README.md")
        assert path in files(), f"{path} is missing"
        lines = text_of(path).splitlines()
        headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        usual = [heading for heading in headings if heading in wanted]
        assert usual == wanted, f"{path} has the headings {headings}"
        assert len(lines) <= README_LINES_MAX, f"{path} has {len(lines)} lines"


def test_the_makefile_is_short_and_explains_each_command() -> None:
    lines = text_of("Makefile").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    explained = re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), flags=re.MULTILINE)
    assert len(phony) <= MAKE_TARGETS_MAX
    assert sorted(phony) == sorted(explained)
