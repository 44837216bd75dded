"""The registry client against a server that speaks the registry's protocol over a socket."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from samples import sample

from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.confluent_registry import (
    ConfluentRegistry,
    RegistryUnavailable,
    encode_confluent,
)

NEWS = "tapeline.market.NewsItem"


class Registry(HTTPServer):
    """Answers by schema id; counts and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, tuple[int, str]] = {
            "/schemas/ids/1": (200, json.dumps({"schema": json.dumps(SCHEMAS[NEWS])})),
            "/schemas/ids/2": (200, json.dumps({"schemaType": "PROTOBUF", "schema": "x"})),
            "/schemas/ids/3": (200, json.dumps({"schema": '"string"'})),
            "/schemas/ids/4": (200, "<html>not a registry</html>"),
            "/schemas/ids/5": (503, "busy"),
            "/schemas/ids/6": (
                200,
                json.dumps({"schema": json.dumps(SCHEMAS[NEWS]), "references": [{"name": "x"}]}),
            ),
            "/schemas/ids/7": (200, " " * (1024 * 1024 + 1)),
        }
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://user:canary@127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        status, body = self.server.answers.get(self.path, (404, "{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Quiet."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_record_in_the_confluent_format_is_read_with_the_registrys_schema(
    registry: Registry,
) -> None:
    value = encode_confluent(sample(NEWS), 1)
    assert value[:5] == b"\x00" + struct.pack(">I", 1)
    decoder = Decoder((NEWS,), resolve_confluent=ConfluentRegistry(registry.url).resolve)
    assert decoder.decode(value) == sample(NEWS)


def test_the_registry_is_asked_once_for_an_id_and_given_the_login(registry: Registry) -> None:
    client = ConfluentRegistry(registry.url)
    assert client.resolve(1) == client.resolve(1) == SCHEMAS[NEWS]
    assert registry.asked == [("/schemas/ids/1", "Basic dXNlcjpjYW5hcnk=")]


@pytest.mark.parametrize("schema_id", [2, 3, 6, 99])
def test_what_is_no_avro_record_of_its_own_is_not_known(registry: Registry, schema_id: int) -> None:
    assert ConfluentRegistry(registry.url).resolve(schema_id) is None
    decoder = Decoder((NEWS,), resolve_confluent=ConfluentRegistry(registry.url).resolve)
    with pytest.raises(DecodeError, match="UNKNOWN_SCHEMA"):
        decoder.decode(encode_confluent(sample(NEWS), schema_id))


@pytest.mark.parametrize("schema_id", [4, 5, 7])
def test_a_registry_that_answers_badly_is_not_the_records_fault(
    registry: Registry, schema_id: int
) -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        ConfluentRegistry(registry.url).resolve(schema_id)
    assert "canary" not in str(caught.value)


def test_a_registry_that_is_away_is_one_clear_failure(registry: Registry) -> None:
    url = registry.url
    registry.server_close()
    with pytest.raises(RegistryUnavailable, match="Check its address"):
        ConfluentRegistry(url).resolve(1)


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(RegistryUnavailable, match="https://"):
        ConfluentRegistry("file:///etc/passwd")
