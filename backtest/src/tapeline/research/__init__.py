"""Runs as data frames, for notebooks and scripts.

    from tapeline.research import read, tables

    read("fills", run="demo-1")                     # a topic of a recorded run, Polars
    read("signals", run="demo-1", frame="pandas")
    read("equity", run="demo-1")                    # a table of the run (run_tables.COLUMNS)
    read("orders", run="folder/of/tables")          # of a backtest or an export
    tables("demo-1").description                    # the whole run, with its exact sums

A run is a name of this home (`tapeline runs list`; "last" is the newest), a backtest of it, or a
folder of tables. The home is `.tapeline` in the current folder, or TAPELINE_HOME. Where no servers
run they are started for the time of the call; `tapeline up` saves that.

Errors:
    NothingToRead   there is no topic or table of that name
    RunUnknown, TablesUnreadable, RecordsLost   as the commands have them
"""

from tapeline.research.frames import NothingToRead
from tapeline.research.reading import read, tables

__all__ = ["NothingToRead", "read", "tables"]
