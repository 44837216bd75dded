"""The offline model server over HTTP, as any client of the protocol meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

FIGURES = {"role": "economist", "vix": 14.0, "momentum": 0.05}
PROMPT = f"How is the market?\n```json\n{json.dumps(FIGURES)}\n```\nAnswer in JSON."
COMMAND = [sys.executable, "-m", "tapeline.agents.model_server", "--port"]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    process = subprocess.Popen([*COMMAND, "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=120)
        process.stdout.close()
    assert code in (0, -signal.SIGTERM)


def body(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    return {"model": "offline-rules-1", "messages": messages, "stream": False, **changes}


def post(base_url: str, **changes: Any) -> httpx.Response:
    return httpx.post(f"{base_url}/chat/completions", json=body(**changes), trust_env=False)


def test_a_completion_has_the_shape_of_the_protocol_and_says_whose_it_is(base_url: str) -> None:
    response = post(base_url)
    completion = response.json()
    [choice] = completion["choices"]
    said = json.loads(choice["message"]["content"])
    usage = completion["usage"]
    assert response.status_code == 200
    assert response.headers["x-tapeline-model"] == "offline-rules-1"
    assert completion["object"] == "chat.completion"
    assert completion["model"] == completion["system_fingerprint"] == "offline-rules-1"
    assert completion["is_offline_model"] is True
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert said["regime"] == "RISK_ON"
    assert said["is_offline_model"] is True
    assert said["comment"].startswith("Offline model")


def test_the_same_request_gives_the_same_bytes(base_url: str) -> None:
    assert post(base_url).content == post(base_url).content


def test_another_request_has_another_id(base_url: str) -> None:
    assert post(base_url).json()["id"] != post(base_url, temperature=0.5).json()["id"]


def test_the_models_are_listed(base_url: str) -> None:
    listed = httpx.get(f"{base_url}/models", trust_env=False).json()
    assert [model["id"] for model in listed["data"]] == ["offline-rules-1"]


@pytest.mark.parametrize("probe", ["/livez", "/readyz"])
def test_it_answers_probes(base_url: str, probe: str) -> None:
    assert httpx.get(base_url.replace("/v1", probe), trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "text",
    ["Tell me a story.", "```json\n{broken\n```", "```json\n[]\n```", '```json\n{"role":"x"}\n```'],
)
def test_without_figures_it_says_that_it_has_no_rule(base_url: str, text: str) -> None:
    response = post(base_url, messages=[{"role": "user", "content": text}])
    said = json.loads(response.json()["choices"][0]["message"]["content"])
    assert said["is_offline_model"] is True
    assert said["error"].startswith("Offline model")


def test_figures_of_a_later_message_do_not_replace_those_of_the_task(base_url: str) -> None:
    other = "```json\n" + json.dumps({**FIGURES, "vix": 80.0, "momentum": -1.0}) + "\n```"
    messages = [{"role": "user", "content": PROMPT}, {"role": "user", "content": other}]
    said = json.loads(post(base_url, messages=messages).json()["choices"][0]["message"]["content"])
    assert said["regime"] == "RISK_ON"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "gpt-5"}, 404, "model_not_found"),
        ({"stream": True}, 400, "unsupported_value"),
        ({"messages": []}, 400, "invalid_messages"),
        ({"messages": [{"role": "user"}]}, 400, "invalid_messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "invalid_messages"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, 413, "request_too_large"),
    ],
)
def test_a_request_it_cannot_serve_gets_an_error_of_the_protocol(
    base_url: str, changes: dict[str, Any], status: int, code: str
) -> None:
    response = post(base_url, **changes)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(base_url: str, content: bytes) -> None:
    response = httpx.post(f"{base_url}/chat/completions", content=content, trust_env=False)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


def test_an_unknown_path_gets_an_error_of_the_protocol(base_url: str) -> None:
    response = httpx.get(f"{base_url}/embeddings", trust_env=False)
    assert (response.status_code, "error" in response.json()) == (404, True)


def test_a_busy_port_is_a_cause_and_a_remedy_and_no_traceback(base_url: str) -> None:
    port = base_url.split(":")[-1].removesuffix("/v1")
    result = subprocess.run([*COMMAND, port], capture_output=True, text=True, timeout=120)
    assert result.returncode == 64
    assert result.stderr.count("\n") == 2
    assert port in result.stderr
    assert "--port" in result.stderr


def test_it_opens_no_connection_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "audited.py"
    script.write_text(
        "import sys\n"
        "from tapeline.agents.model_server.app import main\n"
        "def watch(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        sys.stderr.write(f'{event} {args}')\n"
        "sys.addaudithook(watch)\n"
        "sys.exit(main(['--port', '0']))\n"
    )
    environment = {**os.environ, "LANGSMITH_TRACING": "true", "LANGSMITH_API_KEY": "none"}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    assert post(url).status_code == 200
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert errors == ""


def test_the_port_is_written_where_the_probes_are_looked_for(tmp_path: Path) -> None:
    environment = {**os.environ, "TAPELINE_HEALTH_PORT_FILE": str(tmp_path / "port")}
    process = subprocess.Popen([*COMMAND, "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    written = int((tmp_path / "port").read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert url == f"http://127.0.0.1:{written}/v1"


def test_a_port_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    command = [*COMMAND, "0", "--port-file", str(tmp_path / "no" / "port")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 64
    assert "port" in result.stderr
    assert "Traceback" not in result.stderr
