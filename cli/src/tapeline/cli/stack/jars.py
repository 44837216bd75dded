"""Kafka's jars: resolved from Maven coordinates once, verified, then kept.

The coordinates and their SHA-256 are fixed in `kafka.jars`, for two reasons: the resolver,
given Kafka and a log binding together, picks kafka-clients 3.9.1 for a 4.x broker; and it
only warns when a checksum differs. A jar gets its final name in the cache only after its
digest was right, so an interrupted download leaves nothing that could be taken for a jar.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from tapeline.cli.stack.errors import JarsUnavailable
from tapeline.cli.stack.mirrors import mirrored

DOWNLOADS_AT_ONCE = 8
ATTEMPTS_MAX = 3
RETRY_SECONDS = 0.5
MEGABYTES = 42


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar by its coordinate and its content."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name Maven gives it."""
        return f"{self.artifact}-{self.version}.jar"

    def is_at(self, path: Path) -> bool:
        """Whether the file there is this jar, byte for byte."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def locked_jars() -> tuple[Jar, ...]:
    """The class path of the broker, from `kafka.jars`."""
    text = files("tapeline.cli.stack").joinpath("kafka.jars").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return tuple(_parse(line) for line in lines)


def _parse(line: str) -> Jar:
    coordinate, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256)


def ensure_jars(cache: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """The jars in the cache folder; what is missing or damaged is resolved first."""
    cache.mkdir(parents=True, exist_ok=True)
    jars = locked_jars()
    missing = [jar for jar in jars if not jar.is_at(cache / jar.file_name)]
    if missing:
        say(f"Getting {len(missing)} jars of Kafka ({MEGABYTES} MB in all, only this once)")
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as scratch:
            _fetch_all(missing, cache, maven_context(Path(scratch)))
    return tuple(cache / jar.file_name for jar in jars)


def maven_context(scratch: Path) -> MavenContext:
    """Downloads go to the scratch folder; the user's own repository is only read."""
    settings = GlobalSettings.load()
    # The user's come first: behind a firewall the public one would only time out.
    repositories = dict(settings.repositories)
    for name, url in MavenContext().remote_repos.items():
        repositories.setdefault(name, url)
    return MavenContext(
        repo_cache=scratch,
        local_repos=[settings.repo_cache],
        remote_repos=mirrored(repositories),
    )


def _fetch_all(jars: list[Jar], cache: Path, context: MavenContext) -> None:
    try:
        # The first alone: without a network the message comes at once, not after all of them.
        _fetch(cache, context, jars[0])
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(partial(_fetch, cache, context), jars[1:]))
    except (OSError, RuntimeError) as error:
        # requests' errors are OSErrors; the resolver raises RuntimeError for "not found".
        raise JarsUnavailable(
            f"Kafka's jars are not in {cache} and cannot be downloaded: {error}",
            "Check the network or the proxy (HTTPS_PROXY), name a reachable Maven mirror in "
            "~/.m2/settings.xml or in [repositories] of ~/.config/jgo.conf, or set "
            "KAFKA_BOOTSTRAP_SERVERS to an existing Kafka.",
        ) from error


def _fetch(cache: Path, context: MavenContext, jar: Jar) -> None:
    """Try again a few times: one lost packet in 46 downloads must not end the start."""
    for left in reversed(range(ATTEMPTS_MAX)):
        try:
            _fetch_once(cache, context, jar)
        except (OSError, RuntimeError):
            if not left:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _fetch_once(cache: Path, context: MavenContext, jar: Jar) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    assert artifact.cached_path is not None, "the context has a cache"
    # What an attempt before this one left behind would be taken for the whole.
    artifact.cached_path.unlink(missing_ok=True)
    source = Path(artifact.resolve())
    if not jar.is_at(source) and not source.is_relative_to(context.repo_cache):
        # A damaged file in the user's own repository: leave it, take a fresh one.
        source = context.resolver.download(artifact) or source
    if not jar.is_at(source):
        raise RuntimeError(f"{jar.file_name} has another content than the one Tapeline expects")
    checked = context.repo_cache / f"{jar.file_name}.checked"
    shutil.copyfile(source, checked)
    checked.replace(cache / jar.file_name)
