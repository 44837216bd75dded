"""Images: what their files say, and that each service runs with nothing but its own lock.

No engine is needed: the build stage's COPY and RUN lines are carried out in a temporary folder, so
that a dependency that only the workspace's environment has shows as an import error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, files

SERVICES = sorted(path.split("/")[1] for path in files("/pyproject.toml") if path.startswith("s"))
IMAGES = [*SERVICES, "cli"]
DEVELOPMENT = ("pytest", "mypy", "ruff", "hypothesis", "testcontainers", "pip", "hatchling")
COMMANDS = {
    "agents": (["triggers", "--help"], 0),
    "market-data": (["feed", "--help"], 0),
    "risk": ([], 64),
    "execution": ([], 64),
    "audit": ([], 64),
    "cli": (["--help"], 0),
}
"""Arguments without settings, and the exit code: help, or one message of what is not set."""
IMPORT_ALL = """
import importlib, importlib.metadata, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.glob("tapeline/**/*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    # Fixtures for tests need pytest; migrations run inside alembic.
    if parts[-1] not in ("__main__", "__init__", "testing") and "migrations" not in parts:
        importlib.import_module(".".join(parts))
for group in importlib.metadata.entry_points().groups:
    if group.startswith("tapeline."):
        for point in importlib.metadata.entry_points(group=group):
            point.load()
print(*sorted({path.name for path in root.glob("tapeline/*")}))
print(*sorted(d.metadata["Name"].lower() for d in importlib.metadata.distributions()))
"""


def folder_of(package: str) -> str:
    """Where a package of the workspace is."""
    name = package.removeprefix("tapeline-")
    candidates = (f"libs/{name}", f"services/{name}", name)
    return next(folder for folder in candidates if (ROOT / folder / "pyproject.toml").is_file())


def dockerfile(image: str) -> str:
    return (ROOT / folder_of(image) / "Dockerfile").read_text()


def own_dependencies(image: str) -> list[str]:
    """Folders of the packages of the workspace that an image needs, its own last."""
    project = tomllib.loads((ROOT / folder_of(image) / "pyproject.toml").read_text())["project"]
    named = [one for one in project["dependencies"] if one.startswith("tapeline-")]
    return [*sorted(folder_of(one) for one in named), folder_of(image)]


@pytest.mark.parametrize("service", IMAGES)
def test_an_image_holds_one_service_and_the_libs_it_names(service: str) -> None:
    copied = re.findall(r"^COPY (?!requirements|--)(\S+) ", dockerfile(service), re.MULTILINE)
    assert sorted(copied) == sorted(own_dependencies(service))
    assert f"COPY requirements/build.lock requirements/{service}.lock" in dockerfile(service)


@pytest.mark.parametrize("service", IMAGES)
def test_a_lock_holds_all_that_the_packages_of_its_image_name(service: str) -> None:
    lock = (ROOT / "requirements" / f"{service}.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    for folder in own_dependencies(service):
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        named = {re.split(r"[\s\[<>=!~;]", one)[0] for one in project["dependencies"]}
        assert {one for one in named if not one.startswith("tapeline-")} <= locked, folder


@pytest.mark.parametrize("service", IMAGES)
def test_an_image_runs_without_rights_tools_or_a_shell_in_front(service: str) -> None:
    lines = dockerfile(service).splitlines()
    final = lines[max(at for at, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 10001:10001" in final
    assert final[-1] == f'ENTRYPOINT ["python", "-m", "tapeline.{service.replace("-", "_")}"]'
    assert not [line for line in final if "pip" in line or line.startswith("HEALTHCHECK")]
    installs = [
        line for line in lines if "pip" in line and " install " in line and "--no-index" not in line
    ]
    assert all("--require-hashes --only-binary :all:" in line for line in installs)
    bases = [line for line in lines if line.startswith("FROM ")]
    assert [line.split()[1] for line in bases] == ["python:${PYTHON_TAG}${PYTHON_DIGEST}"] * 2
    assert "ARG PYTHON_TAG=3.11-slim" in lines


def test_the_images_differ_by_their_packages_alone() -> None:
    def shape(service: str) -> str:
        text = re.sub(r"^COPY libs/accounting .*\n", "", dockerfile(service), flags=re.MULTILINE)
        text = text.replace(" ./libs/accounting", "").replace("keys/audit", "")
        return text.replace(service.replace("-", "_"), "SERVICE").replace(service, "SERVICE")

    assert len({shape(service) for service in SERVICES}) == 1


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not stay: an environment may take a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("service", IMAGES)
def test_a_service_runs_with_its_own_lock_alone(service: str, place: Path) -> None:
    build, target = place / "build", place / "opt"
    build_stage(service, build, target)
    python = target / "bin" / "python"
    site = next((target / "lib").glob("python3*/site-packages"))
    printed = run([str(python), "-c", IMPORT_ALL, str(site)], place, 0).stdout.splitlines()
    wanted = [Path(folder).name.replace("-", "_") for folder in own_dependencies(service)]
    assert printed[0].split() == sorted(wanted)
    assert not set(printed[1].split()) & set(DEVELOPMENT)
    arguments, code = COMMANDS[service]
    module = f"tapeline.{service.replace('-', '_')}"
    done = run([str(python), "-m", module, *arguments], place, code)
    assert "Traceback" not in done.stderr


def build_stage(service: str, build: Path, target: Path) -> None:
    """Carries out COPY and RUN of the first stage with its folders moved to temporary ones."""
    build.mkdir()
    for line in dockerfile(service).split("\nFROM ")[1].splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, last = rest.split()
            for source in sources:
                place = build / (last + Path(source).name if last.endswith("/") else last)
                copy(ROOT / source, place)
        elif word == "RUN":
            command = re.sub(r"(?<![\w/])python(?= -m venv)", sys.executable, rest)
            run(["sh", "-ec", command.replace("/opt/tapeline", str(target))], build, 0)


def copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy(source, place)
        return
    # As .dockerignore leaves it.
    place.mkdir()
    shutil.copy(source / "pyproject.toml", place)
    shutil.copytree(source / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))


def run(command: list[str], folder: Path, code: int) -> subprocess.CompletedProcess[str]:
    """Runs a command with hardly any environment, and expects its exit code."""
    kept = ("PIP_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "HOME", "SSL_CERT_FILE", "HTTPS_PROXY")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PATH"] = os.defpath
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done
