"""LangGraph is used for the graph and for nothing else: it tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tapeline.agents.llm.graph import make_graph

SCRIPT = """
import asyncio, sys
sys.path[:0] = [{folder!r}]
seen = []
allowed = set()
def watch(event, args):
    if event == "socket.connect" and args[1][1] not in allowed:
        seen.append((event, args[1]))
    if event == "socket.getaddrinfo" and args[0] not in ("127.0.0.1", b"127.0.0.1"):
        seen.append((event, args[0]))
sys.addaudithook(watch)

from cycles_by_hand import cycle, setup
from fake_model import fake_model, obedient
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.group import LlmGroup

async def main():
    async with fake_model(obedient) as fake:
        allowed.add(int(fake.base_url.split(":")[2].removesuffix("/v1")))
        group = LlmGroup(setup(Endpoint(base_url=fake.base_url, model="m", deadline_s=60,
                                        call_timeout_s=60)))
        result = await group.decide(cycle())
        await group.close()
    print(len(result.decisions), len(fake.exchanges), seen)

asyncio.run(main())
"""


def test_the_graph_spreads_joins_and_stops() -> None:
    drawn = make_graph().get_graph()
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert edges == {
        ("__start__", "analyst"),
        ("__start__", "economist"),
        ("analyst", "coordinator"),
        ("economist", "coordinator"),
        ("coordinator", "portfolio_manager"),
        ("coordinator", "__end__"),
        ("portfolio_manager", "__end__"),
    }


def test_no_trace_is_sent_even_where_the_environment_asks_for_it() -> None:
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    environment = {
        **os.environ,
        "LANGSMITH_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_API_KEY": "none",
        "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
    }
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (result.stdout, result.returncode) == ("2 4 []\n", 0), result.stderr
