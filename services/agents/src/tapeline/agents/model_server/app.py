"""HTTP around the offline model: POST /v1/chat/completions, GET /v1/models, /livez, /readyz.

Started by `python -m tapeline.agents.model_server --port 8095`. It keeps no state and reads nothing
but its requests.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from tapeline.agents.model_server import OFFLINE_MODEL, chat
from tapeline.agents.model_server.chat import BadRequest
from tapeline.runtime.exits import FileUnusable, PortBusy
from tapeline.runtime.settings import main_guard

DEFAULT_PORT: Final = 8095
GRACE_S: Final = 2
BACKLOG: Final = 256


def make_app() -> FastAPI:
    """The ASGI application."""
    app = FastAPI(title="Tapeline offline model", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        try:
            return _json(200, chat.complete(await _body(request)))
        except BadRequest as error:
            return _json(error.status, chat.error_body(error))

    @app.get("/v1/models")
    async def models() -> Response:
        return _json(200, chat.models())

    @app.get("/readyz")
    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> Response:
        reason = BadRequest(error.status_code, "invalid_path_or_method", str(error.detail))
        return _json(error.status_code, chat.error_body(reason))

    return app


async def _body(request: Request) -> bytes:
    """The body, read no further than its bound."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > chat.BODY_MAX_BYTES:
            break
    return bytes(body)


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(
        json.dumps(value, separators=(",", ":"), allow_nan=False),
        status_code=status,
        media_type="application/json",
        headers={"x-tapeline-model": OFFLINE_MODEL},
    )


def make_server() -> uvicorn.Server:
    """A server that is run with `sockets=[...]` of sockets that are bound already."""
    config = uvicorn.Config(
        make_app(),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # From here connections wait in the backlog, so who sees the port may connect.
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop; otherwise a sentence with the remedy and an exit code."""
    options = _parser().parse_args(arguments)
    return main_guard(lambda: run(options.host, options.port, options.port_file))


def run(host: str, port: int, port_file: Path | None) -> int:
    """Serves; raises PortBusy or FileUnusable."""
    try:
        listener = listen(host, port)
    except (OSError, OverflowError) as error:
        raise PortBusy(
            f"The offline model cannot listen on {host}:{port}: {error}.",
            "Choose another port with --port, 0 for any.",
        ) from error
    with listener:
        host, port = listener.getsockname()[:2]
        if port_file is not None:
            write_port(port_file, port)
        sys.stdout.write(f"{OFFLINE_MODEL} listens on http://{host}:{port}/v1\n")
        sys.stdout.flush()
        make_server().run(sockets=[listener])
    return 0


def write_port(path: Path, port: int) -> None:
    """Writes the port at once, never half of it; raises FileUnusable."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(f"{port}\n")
        part.replace(path)
    except OSError as error:
        raise FileUnusable(
            f"The port file {path} cannot be written: {error.strerror}.",
            "Correct --port-file or TAPELINE_HEALTH_PORT_FILE.",
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tapeline.agents.model_server",
        description=f"Serves the offline model {OFFLINE_MODEL}: OpenAI's protocol, written rules.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free port")
    parser.add_argument(
        "--port-file",
        type=Path,
        default=os.environ.get("TAPELINE_HEALTH_PORT_FILE") or None,
        help="file for the port in use; its probes answer there (TAPELINE_HEALTH_PORT_FILE)",
    )
    return parser
