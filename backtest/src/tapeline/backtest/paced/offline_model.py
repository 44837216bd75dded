"""The offline model for groups of language models in a backtest: written rules, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tapeline.agents.groups_stage import Outside
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.agents.model_server.app import listen, make_server

CALL_S = 30.0
DEADLINE_S = 60.0
"""A backtest must not depend on the machine's speed."""


@contextmanager
def offline_model() -> Iterator[Outside]:
    """The model on a port of its own while the block runs."""
    listener = listen("127.0.0.1", 0)
    server = make_server()
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    endpoint = Endpoint(
        base_url=address, model=OFFLINE_MODEL, call_timeout_s=CALL_S, deadline_s=DEADLINE_S
    )
    try:
        yield Outside(llm=endpoint)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
