"""Containers for the tests, where a Docker engine answers and already holds the image.

Nothing is pulled: a test run must not load gigabytes unasked, nor fail for lack of a network
when embedded servers would do. Whatever goes wrong with the engine, they are the fallback.
"""

import contextlib
import gc
import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tapeline.cli.stack import ports
from tapeline.cli.stack.external import kafka_answers, postgres_answers
from tapeline.cli.stack.kafka_settings import CONTAINER_SETTINGS

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA_IMAGE = "apache/kafka:4.2.1"
POSTGRES_IMAGE = "postgres:18"
ENGINE_SECONDS_MAX = 3
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.2

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def kafka_container() -> Iterator[str | None]:
    """The bootstrap servers of a container, or None where there is no engine or no image."""
    port = ports.free_port()

    def configure(container: "DockerContainer", host: str) -> str:
        container.with_bind_ports(port, port)
        for name, value in CONTAINER_SETTINGS.items():
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", str(value))
        container.with_env("KAFKA_LISTENERS", _kafka_listeners("0.0.0.0", port))  # noqa: S104
        advertised = f"PLAINTEXT://{host}:{port},INTERNAL://127.0.0.1:19092"
        container.with_env("KAFKA_ADVERTISED_LISTENERS", advertised)
        return f"{host}:{port}"

    with _container(KAFKA_IMAGE, configure, kafka_answers) as address:
        yield address


def _kafka_listeners(bind: str, port: int) -> str:
    # The broker talks to itself inside: the advertised address need not lead back to it there.
    return f"PLAINTEXT://{bind}:{port},INTERNAL://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"


@contextlib.contextmanager
def postgres_container() -> Iterator[str | None]:
    """The database URL of a container, or None where there is no engine or no image."""
    port, password = ports.free_port(), secrets.token_urlsafe(24)

    def configure(container: "DockerContainer", host: str) -> str:
        container.with_bind_ports(5432, port)
        container.with_env("POSTGRES_USER", "tapeline")
        container.with_env("POSTGRES_PASSWORD", password)
        return f"postgresql+psycopg://tapeline:{password}@{host}:{port}/tapeline"

    with _container(POSTGRES_IMAGE, configure, postgres_answers) as address:
        yield address


@contextlib.contextmanager
def _container(
    image: str,
    configure: "Callable[[DockerContainer, str], str]",
    answers: Callable[[str], bool],
) -> Iterator[str | None]:
    if not engine_holds(image):
        yield None
        return
    from docker.errors import DockerException  # type: ignore[import-untyped] # has no types

    with contextlib.ExitStack() as cleanup:
        address: str | None = None
        try:
            address = _start(image, configure, cleanup)
            _wait_until(answers, address)
        except (DockerException, OSError) as error:
            _log.warning("the container %s did not start, using our own: %s", image, error)
            address = None
        yield address


def engine_holds(image: str) -> bool:
    """Whether a Docker engine answers and has the image."""
    # Where no engine answers, its client leaves sockets to the garbage collector, and that
    # would warn about them in the midst of some test.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        held = _ask_engine(image)
        if not held:
            gc.collect()
    return held


def _ask_engine(image: str) -> bool:
    try:
        import docker  # type: ignore[import-untyped] # has no types
        from docker.errors import DockerException
    except ImportError:
        return False
    try:
        with contextlib.closing(docker.from_env(timeout=ENGINE_SECONDS_MAX)) as client:
            client.images.get(image)
    except (DockerException, OSError):
        return False
    return True


def _start(
    image: str, configure: "Callable[[DockerContainer, str], str]", cleanup: contextlib.ExitStack
) -> str:
    # Its reaper is an image of its own that would be pulled; we remove our containers ourselves.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(image)
    cleanup.callback(container.stop)
    address = configure(container, container.get_docker_client().host())
    container.start()
    return address


def _wait_until(answers: Callable[[str], bool], address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not answers(address):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address} does not answer")
        time.sleep(POLL_SECONDS)
