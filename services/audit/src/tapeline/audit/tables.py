"""The two tables, as the code sees them; the migrations make them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA: Final = "audit"
metadata: Final = MetaData(schema=SCHEMA)

audit_row: Final = Table(
    "audit_row",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("kafka_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("chain_index", BigInteger, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("event_id", Text),
    Column("causation_id", Text),
    Column("correlation_id", Text),
    Column("producer", Text),
    Column("decision_id", Text),
    Column("client_order_id", Text),
    Column("is_duplicate", Boolean, nullable=False),
    Column("append_ms", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("headers", LargeBinary, nullable=False),
    Column("value", LargeBinary),
    Column("body", JSONB, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("previous_head", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)

audit_range: Final = Table(
    "audit_range",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("chain_index", BigInteger, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("first_append_ms", BigInteger, nullable=False),
    Column("last_append_ms", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("previous_head", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)
