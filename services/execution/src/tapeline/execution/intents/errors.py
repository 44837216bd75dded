"""How the intents fail.

Failure (tapeline.runtime.exits)
├── IntentsAway      PostgreSQL does not answer: a restart may help
├── IntentsUnfit     PostgreSQL refuses us, or is not migrated: a restart does not help
├── IntentsLost      what PostgreSQL and Kafka hold does not fit together
└── SenderReplaced   another sender has taken over the shard
"""

from __future__ import annotations

from tapeline.runtime import exits


class IntentsAway(exits.Failure):
    """PostgreSQL did not answer within the bound."""

    exit_code = exits.UNAVAILABLE


class IntentsUnfit(exits.Failure):
    """PostgreSQL refuses us, or its tables are not there."""

    exit_code = exits.USAGE


class IntentsLost(exits.Failure):
    """PostgreSQL and Kafka do not tell the same story; nothing may be sent on a guess."""

    exit_code = exits.USAGE


class SenderReplaced(exits.Failure):
    """Another sender has taken over the shard."""

    exit_code = exits.FENCED
