"""Finds a run by its name, and reads a topic or a table of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import polars as pl

from tapeline.backtest.recorded_topics import RecordedTopics
from tapeline.backtest.run_tables import COLUMNS, RunTables
from tapeline.cli.desk import desk
from tapeline.cli.recorded import folder_of, tables_of
from tapeline.contracts import topics
from tapeline.research.frames import NothingToRead, columns_of, frame_of

if TYPE_CHECKING:
    import pandas as pd


@overload
def read(
    name: str,
    run: str | Path = ...,
    *,
    frame: Literal["polars"] = ...,
    is_exact: bool = ...,
) -> pl.DataFrame: ...


@overload
def read(
    name: str, run: str | Path = ..., *, frame: Literal["pandas"], is_exact: bool = ...
) -> pd.DataFrame: ...


def read(
    name: str,
    run: str | Path = "last",
    *,
    frame: Literal["polars", "pandas"] = "polars",
    is_exact: bool = False,
) -> pl.DataFrame | pd.DataFrame:
    """A topic of a recorded run, or a table of any run, as a frame.

    Times are nanoseconds UTC. A name that is both (`fills`, `bars`) is the topic where the run has
    topics. Money is a float; with `is_exact` that of topics is decimal. Raises NothingToRead.
    """
    found = _found(name, str(run), is_exact=is_exact)
    if frame == "polars":
        return found
    # Polars' own way asks for pyarrow.
    import pandas as pd

    return pd.DataFrame(found.to_dict(as_series=False), columns=found.columns)


def tables(run: str | Path = "last") -> RunTables:
    """The whole run as tables."""
    return tables_of(str(run))


def _found(name: str, run: str, *, is_exact: bool) -> pl.DataFrame:
    if name not in topics.TOPICS and name not in COLUMNS:
        raise NothingToRead(name)
    if folder_of(run) is None and name in topics.TOPICS:
        columns_of(name, is_exact=is_exact)
        with desk(run) as place:
            return frame_of(name, RecordedTopics(place.reader).records(name), is_exact=is_exact)
    if name not in COLUMNS:
        # A folder holds tables alone.
        raise NothingToRead(name)
    return tables(run)[name]
