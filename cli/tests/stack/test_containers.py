"""Containers are used only where an engine holds the image already."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tapeline.cli.stack import containers


class Engine(BaseHTTPRequestHandler):
    """A Docker engine that answers and holds no image."""

    def do_GET(self) -> None:
        is_version = self.path.endswith("/version")
        body = b'{"ApiVersion": "1.44"}' if is_version else b'{"message": "No such image"}'
        self.send_response(200 if is_version else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("engine")
def test_an_engine_without_the_image_is_not_made_to_pull_it() -> None:
    with containers.kafka_container() as kafka, containers.postgres_container() as postgres:
        assert kafka is None
        assert postgres is None


def test_without_an_engine_there_is_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert not containers.engine_holds(containers.KAFKA_IMAGE)
