"""Log files of children: their tail for messages, and a bound on their size."""

from pathlib import Path

LINES_SHOWN = 20
BYTES_READ = 64 * 1024
BYTES_MAX = 10 * 1024 * 1024


def tail(path: Path, lines: int = LINES_SHOWN) -> str:
    """The last lines of the file, without Java's stack frames; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - BYTES_READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    told = [line for line in text.splitlines() if not line.startswith(("\tat ", "\t... "))]
    return "\n".join(told[-lines:])


def set_aside_if_large(path: Path) -> None:
    """Before a start: keep one predecessor of a file that has grown over the bound."""
    if path.exists() and path.stat().st_size > BYTES_MAX:
        path.replace(path.with_name(f"{path.name}.1"))
