"""Which Kafka formatted a data folder: no broker reads what a newer one formatted.

Such a broker ends with a stack trace about a record it cannot read. The version is kept beside the
data; a folder from before that says it by its metadata version, Kafka's number for the format.
"""

import contextlib
import struct
from pathlib import Path
from typing import Final

from tapeline.cli.stack.errors import FolderUnfit
from tapeline.cli.stack.jars import locked_jars

KEPT: Final = "kafka.version"
FORMATTED: Final = Path("logs", "meta.properties")
CHECKPOINT: Final = Path("logs", "bootstrap.checkpoint")
METADATA_LEVEL_MAX: Final = 29
"""that Kafka 4.2 formats with (4.2-IV1); change it with the jars"""
_FEATURE: Final = b"metadata.version"


def kafka_version() -> str:
    """Of the embedded broker."""
    (version,) = {jar.version for jar in locked_jars() if jar.artifact == "kafka-clients"}
    return version


def is_formatted(data_dir: Path) -> bool:
    """Whether a format came to its end."""
    return (data_dir / FORMATTED).exists()


def keep_version(data_dir: Path) -> None:
    """Notes that our version has formatted the folder."""
    (data_dir / KEPT).write_text(kafka_version())


def require_readable(data_dir: Path) -> None:
    """Raises FolderUnfit where a newer Kafka has formatted the folder."""
    newer = _newer(data_dir)
    if newer:
        raise FolderUnfit(
            f"{data_dir} was formatted by {newer}; Kafka {kafka_version()}, which Tapeline runs "
            "now, cannot read it.",
            "Move that folder away, or set TAPELINE_HOME to another one: a new one is formatted. "
            "What is in it can be read only by a build of Tapeline with the Kafka that made it.",
        )


def _newer(data_dir: Path) -> str:
    """The Kafka that formatted the folder, if it is newer than ours."""
    with contextlib.suppress(OSError, ValueError):
        formatted_by = (data_dir / KEPT).read_text().strip()
        is_newer = _release(formatted_by) > _release(kafka_version())
        return f"Kafka {formatted_by}" if is_newer else ""
    is_newer = metadata_level(data_dir) > METADATA_LEVEL_MAX
    return "a newer Kafka" if is_newer else ""


def _release(version: str) -> tuple[int, ...]:
    """Major and minor: patches share the format."""
    return tuple(map(int, version.split(".")[:2]))


def metadata_level(data_dir: Path) -> int:
    """Kafka's number of the format; 0 where the folder does not say it."""
    with contextlib.suppress(OSError):
        written = (data_dir / CHECKPOINT).read_bytes()
        _, found, behind = written.partition(_FEATURE)
        # FeatureLevelRecord: the name, then the level as a 16-bit number.
        return int(struct.unpack_from(">h", behind)[0]) if found and len(behind) > 1 else 0
    return 0
