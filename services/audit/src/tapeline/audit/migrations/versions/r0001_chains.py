"""The two append-only tables, their indexes, and the trigger that keeps them append-only."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE audit.audit_row (
    run_id          text    NOT NULL,
    topic           text    NOT NULL,
    partition       integer NOT NULL,
    kafka_offset    bigint  NOT NULL,
    chain_index     bigint  NOT NULL,
    record_type     text    NOT NULL,
    event_id        text,
    causation_id    text,
    correlation_id  text,
    producer        text,
    decision_id     text,
    client_order_id text,
    is_duplicate    boolean NOT NULL,
    append_ms       bigint  NOT NULL,
    key             bytea,
    headers         bytea   NOT NULL,
    value           bytea,
    body            jsonb   NOT NULL,
    key_id          text    NOT NULL,
    previous_head   bytea   NOT NULL CHECK (octet_length(previous_head) = 32),
    head            bytea   NOT NULL CHECK (octet_length(head) = 32),
    PRIMARY KEY (run_id, topic, partition, kafka_offset)
);
CREATE TABLE audit.audit_range (
    run_id          text    NOT NULL,
    topic           text    NOT NULL,
    partition       integer NOT NULL,
    first_offset    bigint  NOT NULL,
    next_offset     bigint  NOT NULL CHECK (next_offset > first_offset),
    chain_index     bigint  NOT NULL,
    record_count    bigint  NOT NULL,
    digest          bytea   NOT NULL CHECK (octet_length(digest) = 32),
    first_append_ms bigint  NOT NULL,
    last_append_ms  bigint  NOT NULL,
    key_id          text    NOT NULL,
    previous_head   bytea   NOT NULL CHECK (octet_length(previous_head) = 32),
    head            bytea   NOT NULL CHECK (octet_length(head) = 32),
    PRIMARY KEY (run_id, topic, partition, first_offset)
)
"""

# The run is in each of them: with statistics of a table that was just filled, or none, the planner
# would otherwise take the primary key for it and read the whole run.
INDEXES = """
CREATE INDEX audit_row_event_id ON audit.audit_row (event_id, run_id) WHERE event_id IS NOT NULL;
CREATE INDEX audit_row_decision_id ON audit.audit_row (decision_id, run_id)
    WHERE decision_id IS NOT NULL;
CREATE INDEX audit_row_client_order_id ON audit.audit_row (client_order_id, run_id)
    WHERE client_order_id IS NOT NULL;
CREATE INDEX audit_row_record_type ON audit.audit_row (record_type, run_id);
CREATE INDEX audit_row_cycle ON audit.audit_row ((body->>'group_id'), (body->>'cycle_ns'), run_id)
    WHERE record_type IN ('tapeline.agents.LlmCall', 'tapeline.agents.AgentMessage');
CREATE INDEX audit_row_also_denied ON audit.audit_row USING gin ((body->'also_decision_ids'))
    WHERE record_type = 'tapeline.risk.Denial'
"""

APPEND_ONLY = """
CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the audit is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.audit_row
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.audit_range
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()
"""


def upgrade() -> None:
    """Applies."""
    for script in (TABLES, INDEXES, APPEND_ONLY):
        op.execute(script)
