"""The Confluent wire format: schemas by registry id over HTTP, and its framing.

Errors:
    RegistryUnavailable   the registry does not answer; the record is not to blame
"""

from __future__ import annotations

import base64
import json
import struct
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tapeline.runtime import exits
from tapeline.runtime.codec import encode_body

TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 1024 * 1024
MAGIC: Final = b"\x00"


class RegistryUnavailable(exits.Failure):
    """The schema registry does not answer as one."""

    exit_code = exits.UNAVAILABLE


def encode_confluent(record: Any, schema_id: int) -> bytes:
    """A record in the Confluent format: a zero byte, the registry's id, the Avro body."""
    return MAGIC + struct.pack(">I", schema_id) + encode_body(record)


class ConfluentRegistry:
    """Looks writer schemas up by id; ids never change their meaning, so answers are kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryUnavailable(
                "The schema registry's address is not an http or https URL.",
                "Give it as https://user:password@host:port.",
            )
        self._parts = parts
        self._known: dict[int, dict[str, Any]] = {}

    def resolve(self, schema_id: int) -> dict[str, Any] | None:
        """The Avro record schema with an id; None when the registry has none that we can use."""
        if schema_id not in self._known:
            status, body = self._get(f"/schemas/ids/{schema_id}")
            if status == HTTPStatus.NOT_FOUND:
                return None
            if status != HTTPStatus.OK:
                raise self._unavailable(f"it answers {status}")
            schema = self._schema_in(body)
            if schema is None:
                return None
            self._known[schema_id] = schema
        return self._known[schema_id]

    def _schema_in(self, body: bytes) -> dict[str, Any] | None:
        try:
            answer = json.loads(body)
            # Only Avro, and nothing that is spread over several subjects.
            if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
                return None
            schema = json.loads(answer["schema"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._unavailable("its answer is not a schema") from error
        return schema if isinstance(schema, dict) else None

    def _get(self, path: str) -> tuple[int, bytes]:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        assert self._parts.hostname is not None
        connection = kind(self._parts.hostname, self._parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", self._parts.path.rstrip("/") + path, headers=self._headers())
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX + 1)
        except (OSError, HTTPException) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if len(body) > ANSWER_BYTES_MAX:
            raise self._unavailable(f"its answer has more than {ANSWER_BYTES_MAX} bytes")
        return answer.status, body

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if self._parts.username:
            login = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        return headers

    def _unavailable(self, reason: str) -> RegistryUnavailable:
        # Without user and password: the message goes to logs.
        return RegistryUnavailable(
            f"The schema registry at {self._parts.hostname} cannot be used: {reason}.",
            "Check its address and that it runs.",
        )
