"""Writes the hashed requirement files: all of the workspace, and one for each service's image."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPTIONS = ["--universal", "--generate-hashes", "--no-header", "-q"]


def projects() -> list[Path]:
    """Every member of the workspace, in a stable order."""
    members = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"][
        "members"
    ]
    return sorted(path / "pyproject.toml" for glob in members for path in ROOT.glob(glob))


def name(project: Path) -> str:
    """The distribution's name."""
    return str(tomllib.loads(project.read_text())["project"]["name"])


def compile_lock(
    sources: list[str], target: Path, extra: list[str], *, python: str = "3.11"
) -> None:
    """One call of uv for a least Python; the workspace's own packages are left out, they are
    installed from source."""
    own = [f"--no-emit-package={name(project)}" for project in projects()]
    target.parent.mkdir(exist_ok=True)
    command = ["uv", "pip", "compile", *OPTIONS, "--python-version", python]
    command += [*own, *extra, *sources, "-o", str(target)]
    print("lock", target.relative_to(ROOT))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Compiles bootstrap, workspace, peers, what images are built with, and each service."""
    everything = [str(project.relative_to(ROOT)) for project in projects()]
    compile_lock(["requirements/bootstrap.in"], ROOT / "requirements" / "bootstrap.lock", [])
    compile_lock(everything, ROOT / "requirements.lock", ["--group", "pyproject.toml:dev"])
    # The newest of them want a newer Python than we do.
    for peers in ("peers", "hftbacktest"):
        source = f"requirements/{peers}.in"
        compile_lock([source], ROOT / "requirements" / f"{peers}.lock", [], python="3.12")
    constraint = ["--constraint", "requirements.lock"]
    compile_lock(["requirements/build.in"], ROOT / "requirements" / "build.lock", constraint)
    for project in projects():
        if project.parent.parent.name == "services" or project.parent.name == "cli":
            target = ROOT / "requirements" / f"{project.parent.name}.lock"
            compile_lock([str(project.relative_to(ROOT))], target, constraint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
