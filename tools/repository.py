"""The files of the repository, as the checks over it see them."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
GENERATED = "libs/contracts/src/"


def files(*suffixes: str) -> list[str]:
    """Paths of tracked files, and of new ones that are not ignored; all, or those so ending."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = sorted(path for path in listed.split("\0") if path and (ROOT / path).is_file())
    return [path for path in found if not suffixes or path.endswith(suffixes)]


def text_of(path: str) -> str:
    """Content of a file; empty where it is not text."""
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:
        return ""


def written_python() -> list[str]:
    """Python files that people write."""
    return [path for path in files(".py") if not path.startswith(GENERATED)]
