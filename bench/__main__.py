"""`python -m bench [NAME ...]`: prints a table for each benchmark; nothing is asserted."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from bench import (
    audit,
    backtest,
    data_check,
    decisions,
    first_read,
    latency,
    overload,
    replay,
    resources,
    sweep,
    throughput,
)
from tapeline.runtime.clock import wall_ns

BENCHMARKS: dict[str, Any] = {
    "throughput": throughput,
    "decisions": decisions,
    "overload": overload,
    "latency": latency,
    "replay": replay,
    "backtest": backtest,
    "first-read": first_read,
    "sweep": sweep,
    "audit": audit,
    "resources": resources,
    "data-check": data_check,
}


def main() -> None:
    """Runs the named benchmarks, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Benchmarks of Tapeline, each beside its bare limit."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="under two minutes; rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    for module in BENCHMARKS.values():
        module.add_options(parser)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(BENCHMARKS)}")
    load = os.getloadavg()
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, load {load[0]:.1f} before the start\n",
        flush=True,
    )
    results: dict[str, Any] = {"at_ns": wall_ns(), "load": load, "processors": os.cpu_count()}
    for name in options.names or BENCHMARKS:
        results[name] = BENCHMARKS[name].run(options)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
