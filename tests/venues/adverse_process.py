"""Starts the adverse venue as a process of its own, and talks to its test door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass
class AdverseVenue:
    """A running venue."""

    address: str
    seed: int

    def script(self, **shares: Any) -> None:
        """What goes wrong from now on; nothing else does."""
        self._post("/test/script", shares)

    def market(self, **prices: str) -> None:
        self._post(
            "/test/market", {name.replace("_", "."): price for name, price in prices.items()}
        )

    def past_us(self, account: str, instrument: str, quantity: str) -> None:
        self._post(
            "/test/past-us", {"account": account, "instrument": instrument, "quantity": quantity}
        )

    def entry(self, account: str, kind: str, amount: str) -> None:
        self._post("/test/entry", {"account": account, "kind": kind, "amount": amount})

    def bust(self, trade_id: str) -> None:
        self._post("/test/bust", {"trade_id": trade_id})

    def ledger(self) -> dict[str, Any]:
        return self._read("/test/ledger")

    def posted_since(self, since_ns: int) -> dict[str, int]:
        """Orders that came later than that, and when, nanoseconds UTC."""
        return self._read(f"/test/posted?since_ns={since_ns}")

    def _read(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.address + path, timeout=120) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _post(self, path: str, body: Any) -> None:
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()


@contextmanager
def adverse_venue(folder: Path, seed: int) -> Iterator[AdverseVenue]:
    """The venue until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file = folder / "adverse.port"
    port_file.unlink(missing_ok=True)
    with (folder / "adverse.out").open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "adverse_venue.server",
                "--seed",
                str(seed),
                "--port-file",
                str(port_file),
            ],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + 120
            while not port_file.exists():
                assert process.poll() is None, (folder / "adverse.out").read_text()
                assert time.monotonic() < deadline, "the venue does not start"
                time.sleep(0.02)
            yield AdverseVenue(f"http://127.0.0.1:{port_file.read_text()}", seed)
        finally:
            process.kill()
            process.wait()
