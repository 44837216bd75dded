"""The books as PostgreSQL has them: what the audit recorded, added up by the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from desk import CURRENCY, Desk, Figures, plain

from tapeline.audit.migrate import migrate
from tapeline.audit.queries import reading_connection

MOVES = """
WITH moved AS (
    SELECT instrument_id AS name,
           CASE side WHEN 'BUY' THEN quantity ELSE -quantity END AS amount
    FROM audit.fills WHERE run_id = %(run)s
    UNION ALL
    SELECT currency, CASE side WHEN 'BUY' THEN -quantity ELSE quantity END * price - commission
    FROM audit.fills WHERE run_id = %(run)s
    UNION ALL
    SELECT body->>'instrument_id', (body->>'quantity')::numeric
    FROM audit.audit_row
    WHERE run_id = %(run)s AND record_type = 'tapeline.accounts.PositionCorrection'
    UNION ALL
    SELECT %(currency)s, -(body->>'quantity')::numeric * (body->>'price')::numeric
    FROM audit.audit_row
    WHERE run_id = %(run)s AND record_type = 'tapeline.accounts.PositionCorrection'
    UNION ALL
    SELECT body->>'currency', (body->>'amount')::numeric
    FROM audit.audit_row
    WHERE run_id = %(run)s AND record_type IN
        ('tapeline.accounts.CashAdjustment', 'tapeline.accounts.FundingPayment')
)
SELECT name, sum(amount) FROM moved GROUP BY name
"""


@contextmanager
def audited(run: Desk) -> Iterator[Figures]:
    """The audit records the block; behind it the figures are those of PostgreSQL."""
    figures: Figures = {}
    url = migrate(run.admin_url, app_role="tapeline_audit")
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": run.bootstrap,
        "DATABASE_URL": url,
        "TAPELINE_TOPIC_PREFIX": run.settings.topic_prefix,
        "TAPELINE_RUN_ID": run.run_id,
        "TAPELINE_KEYS_DIR": str(run.keys),
        "TAPELINE_AUDIT_ANCHORS_DIR": str(run.folder / "anchors"),
        "TAPELINE_HEALTH_PORT_FILE": str(run.folder / "audit.port"),
    }
    with (run.folder / "audit.out").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tapeline.audit"], env=environment, stdout=output, stderr=output
        )
        try:
            yield figures
            run.until((run.folder / "audit.port").exists)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0, (run.folder / "audit.out").read_text()[-3000:]
        finally:
            process.kill()
            process.wait()
    with reading_connection(url) as connection:
        found = connection.execute(MOVES, {"run": run.run_id, "currency": CURRENCY}).fetchall()
    moved = {name: Decimal(amount) for name, amount in found}
    moved[CURRENCY] = moved.get(CURRENCY, Decimal(0)) + Decimal(100_000)
    figures.update(plain(moved))
