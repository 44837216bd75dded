"""The intents: what is about to leave for a venue, written before it does, and by whom."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A sender owns its shard while its epoch is the row's: a later start takes the next one.
SENDERS = """
CREATE TABLE execution.sender (
    run_id       text    NOT NULL,
    shard        integer NOT NULL,
    epoch        bigint  NOT NULL,
    next_offset  bigint  NOT NULL,
    intent_count bigint  NOT NULL,
    PRIMARY KEY (run_id, shard)
)
"""
INTENTS = """
CREATE TABLE execution.intent (
    run_id          text    NOT NULL,
    command_id      text    NOT NULL,
    shard           integer NOT NULL,
    epoch           bigint  NOT NULL,
    kind            text    NOT NULL,
    approval_id     text    NOT NULL,
    child_index     integer NOT NULL,
    account_id      text    NOT NULL,
    venue           text    NOT NULL,
    client_order_id text    NOT NULL,
    command         bytea   NOT NULL,
    written_ns      bigint  NOT NULL,
    state           text    NOT NULL DEFAULT 'OPEN'
                    CHECK (state IN ('OPEN', 'ANSWERED', 'ENDED')),
    PRIMARY KEY (run_id, command_id)
);
CREATE UNIQUE INDEX intent_one_send ON execution.intent (run_id, approval_id, child_index)
    WHERE kind = 'SUBMIT';
CREATE INDEX intent_not_ended ON execution.intent (run_id, shard) WHERE state <> 'ENDED';
CREATE INDEX intent_order ON execution.intent (run_id, client_order_id)
"""


def upgrade() -> None:
    """Applies."""
    for script in (SENDERS, INTENTS):
        op.execute(script)
