"""How the audit fails.

Failure (tapeline.runtime.exits)
├── DatabaseUnfit     the database refuses us, or is not migrated: a restart does not help
├── DatabaseAway      no answer within the bound: a restart may help
├── ChainConflict     somebody else writes the same chains, or has changed them
├── LogMismatch       Kafka no longer holds what has to be read next, or is another log
└── KeysUnfit         no usable chain key
"""

from __future__ import annotations

from tapeline.runtime import exits


class DatabaseUnfit(exits.Failure):
    """The database refuses us, or its tables are not there."""

    exit_code = exits.USAGE


class DatabaseAway(exits.Failure):
    """The database did not answer within the bound."""

    exit_code = exits.UNAVAILABLE


class ChainConflict(exits.Failure):
    """A chain in the database is not where this process left it."""

    exit_code = exits.FENCED


class LogMismatch(exits.Failure):
    """Kafka does not hold the records that have to be read next."""

    exit_code = exits.USAGE


class KeysUnfit(exits.Failure):
    """No chain key can be used."""

    exit_code = exits.USAGE
