"""One typed view per entity. The column order is the reading order; times are nanoseconds UTC."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PLACE = "run_id, topic, partition, kafka_offset, event_id, causation_id, correlation_id"
TIMES = {"ts_event_ns": "bigint", "ts_init_ns": "bigint"}

VIEWS: dict[str, tuple[str, dict[str, str]]] = {
    "signals": (
        "tapeline.agents.Signal",
        {
            "signal_id": "text",
            "trigger": "text",
            "universe": "text",
            "instrument_id": "text",
            "direction": "text",
            "confidence": "double precision",
            "expected_return": "double precision",
            "liquidity": "double precision",
            "horizon_ns": "bigint",
            "price": "double precision",
            "reason": "text",
        },
    ),
    "decisions": (
        "tapeline.agents.Decision",
        {
            "decision_id": "text",
            "account_id": "text",
            "group_id": "text",
            "cycle_ns": "bigint",
            "index": "integer",
            "kind": "text",
            "instrument_id": "text",
            "target_weight": "numeric",
            "side": "text",
            "quantity": "numeric",
            "order_type": "text",
            "limit_price": "numeric",
            "stop_price": "numeric",
            "time_in_force": "text",
            "client_order_id": "text",
            "confidence": "double precision",
            "reference_price": "double precision",
            "model": "text",
            "is_offline_model": "boolean",
            "reason": "text",
        },
    ),
    "order_updates": (
        "tapeline.orders.OrderUpdate",
        {
            "client_order_id": "text",
            "venue_order_id": "text",
            "account_id": "text",
            "group_id": "text",
            "instrument_id": "text",
            "approval_id": "text",
            "decision_id": "text",
            "status": "text",
            "previous_status": "text",
            "is_terminal": "boolean",
            "code": "text",
            "reason": "text",
            "quantity": "numeric",
            "filled_quantity": "numeric",
            "average_price": "numeric",
        },
    ),
    "fills": (
        "tapeline.orders.Fill",
        {
            "fill_id": "text",
            "trade_id": "text",
            "client_order_id": "text",
            "venue_order_id": "text",
            "account_id": "text",
            "group_id": "text",
            "instrument_id": "text",
            "approval_id": "text",
            "decision_id": "text",
            "venue": "text",
            "side": "text",
            "quantity": "numeric",
            "price": "numeric",
            "commission": "numeric",
            "currency": "text",
            "liquidity_side": "text",
            "arrival_price": "numeric",
            "leaves_quantity": "numeric",
        },
    ),
    "denials": (
        "tapeline.risk.Denial",
        {
            "decision_id": "text",
            "account_id": "text",
            "group_id": "text",
            "instrument_id": "text",
            "code": "text",
            "measured": "numeric",
            "limit": "numeric",
            "reason": "text",
        },
    ),
    "incidents": (
        "tapeline.system.Incident",
        {
            "service": "text",
            "severity": "text",
            "code": "text",
            "reason": "text",
        },
    ),
    "llm_calls": (
        "tapeline.agents.LlmCall",
        {
            "call_id": "text",
            "group_id": "text",
            "cycle_ns": "bigint",
            "node": "text",
            "attempt": "integer",
            "model": "text",
            "is_offline_model": "boolean",
            "status": "text",
            "error": "text",
            "latency_ns": "bigint",
            "prompt_tokens": "bigint",
            "completion_tokens": "bigint",
            "request": "text",
            "response": "text",
        },
    ),
    "discussions": (
        "tapeline.agents.AgentMessage",
        {
            "message_id": "text",
            "group_id": "text",
            "cycle_ns": "bigint",
            "sender": "text",
            "recipient": "text",
            "type": "text",
            "content": "text",
            "is_offline_model": "boolean",
        },
    ),
}

APPROVALS = """
CREATE VIEW audit.approvals AS
SELECT PLACE,
    body->'approval'->>'approval_id' AS approval_id,
    body->'approval'->>'decision_id' AS decision_id,
    body->'order'->>'client_order_id' AS client_order_id,
    body->>'action' AS action,
    body->'order'->>'account_id' AS account_id,
    body->'order'->>'group_id' AS group_id,
    body->'order'->>'instrument_id' AS instrument_id,
    body->'order'->>'side' AS side,
    body->'order'->>'order_type' AS order_type,
    (body->'order'->>'quantity')::numeric AS quantity,
    (body->'order'->>'limit_price')::numeric AS limit_price,
    (body->'order'->>'arrival_price')::numeric AS arrival_price,
    body->'approval'->>'mode' AS mode,
    body->'approval'->>'key_id' AS key_id,
    (body->'approval'->>'issued_ns')::bigint AS issued_ns,
    (body->'approval'->>'expires_ns')::bigint AS expires_ns,
    (body->>'ts_event_ns')::bigint AS ts_event_ns,
    (body->>'ts_init_ns')::bigint AS ts_init_ns
FROM audit.audit_row
WHERE record_type = 'tapeline.orders.ApprovedOrder' AND NOT is_duplicate
"""

# An order's updates are all on one partition, so the highest offset is the latest.
ORDERS = """
CREATE VIEW audit.orders AS
SELECT DISTINCT ON (run_id, client_order_id) *
FROM audit.order_updates
ORDER BY run_id, client_order_id, kafka_offset DESC
"""

CONTROL = """
CREATE VIEW audit.control_records AS
SELECT PLACE, record_type,
    body->>'command_id' AS command_id,
    body->>'scope' AS scope,
    body->>'scope_id' AS scope_id,
    body->>'state' AS state,
    (body->>'sequence')::bigint AS sequence,
    body->>'operator' AS operator,
    body->>'reason' AS reason,
    (body->>'expires_ns')::bigint AS expires_ns,
    (body->>'issued_ns')::bigint AS issued_ns
FROM audit.audit_row
WHERE topic = 'control' AND record_type LIKE 'tapeline.control.%'
"""

CONFIG = """
CREATE VIEW audit.config_records AS
SELECT PLACE, record_type,
    encode(key, 'escape') AS entity_id,
    (body->>'version')::bigint AS version,
    body
FROM audit.audit_row
WHERE topic = 'config' AND record_type LIKE 'tapeline.config.%';
CREATE VIEW audit.config_latest AS
SELECT DISTINCT ON (run_id, record_type, entity_id) *
FROM audit.config_records
ORDER BY run_id, record_type, entity_id, kafka_offset DESC
"""


def view(name: str, record_type: str, columns: dict[str, str]) -> str:
    """A view over one record type; a duplicate is the same event once more, so it is left out."""
    typed = ",\n    ".join(
        f"(body->>'{column}')::{kind} AS \"{column}\""
        for column, kind in {**columns, **TIMES}.items()
    )
    return (
        f"CREATE VIEW audit.{name} AS\nSELECT {PLACE},\n    {typed}\n"
        f"FROM audit.audit_row\nWHERE record_type = '{record_type}' AND NOT is_duplicate"
    )


def upgrade() -> None:
    """Applies."""
    for name, (record_type, columns) in VIEWS.items():
        op.execute(view(name, record_type, columns))
    for script in (APPROVALS, ORDERS, CONTROL, CONFIG):
        op.execute(script.replace("PLACE", PLACE))
