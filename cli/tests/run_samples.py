"""A run as its folder describes it."""

from __future__ import annotations

from tapeline.cli.runs import Run

RUN = Run(
    name="a-run",
    run_id="r",
    source="s",
    preset="p",
    feed="f",
    is_paced=True,
    is_synthetic=False,
    shards=(0,),
    instrument_partitions=1,
    account_partitions=1,
    started_ns=1,
)
"""tests say what is another in theirs"""
