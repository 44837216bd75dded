"""What the kill switch needs without Kafka: the configuration of venues, and what it canceled."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CONFIGURATION = """
CREATE TABLE execution.configuration (
    run_id text  NOT NULL,
    name   text  NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (run_id, name)
)
"""
SWEPT = """
CREATE TABLE execution.swept (
    run_id          text    NOT NULL,
    trip_id         text    NOT NULL,
    command_id      text    NOT NULL,
    shard           integer NOT NULL,
    client_order_id text    NOT NULL,
    answer          text    NOT NULL,
    swept_ns        bigint  NOT NULL,
    is_told         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, trip_id, command_id)
)
"""


def upgrade() -> None:
    """Applies."""
    for script in (CONFIGURATION, SWEPT):
        op.execute(script)
