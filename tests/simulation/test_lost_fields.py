"""Every field of what risk and execution keep matters behind a death, or stands in a list here.

The fields are listed from the classes, so one that is new is asked by itself.
"""

from __future__ import annotations

import pytest

from simulation.twin_fields import EACH, LOST_FIELDS, LostField
from simulation.twin_walks import SCENES, walked

WITHOUT_EFFECT = {
    "risk.config_count": "a number for caches, with which a new process begins empty",
    "risk.asked": "holds from an input to what is said to it; no snapshot lies between",
}
NOT_REACHED = (
    "risk.accounts.*.breakers.*.has_tripped",
    "risk.accounts.*.watched_mark_ns",
    "risk.open_orders.*.protective_left",
    "risk.rushes.*.waiting_bytes",
    "execution.orders.*.is_fixed",
    "execution.orders.*.is_imitated",
    "execution.orders.*.forget_ns",
    "execution.ended.*.child_index",
    "execution.ended.*.venue_order_id",
    "execution.ended.*.filled_quantity",
    "execution.ended.*.filled_value",
    "execution.ended.*.cancels",
    "execution.ended.*.amendment",
    "execution.ended.*.is_fixed",
    "execution.ended.*.is_imitated",
    "execution.parents.*.stopped_by",
    "execution.parents.*.is_protected",
    "execution.paper.accounts.*.cash",
    "execution.paper.accounts.*.traded",
    "execution.paper.orders.*.ahead",
    "execution.external.books.*.ledger.cash",
    "execution.external.books.*.ledger.lines",
    "execution.external.books.*.bookings",
    "execution.external.books.*.prices",
    "execution.external.books.*.entries",
    "execution.external.books.*.busted",
    "execution.external.books.*.suspicions",
    "execution.external.books.*.suspicions.*.difference.price",
    "execution.external.books.*.suspicions.*.same",
    "execution.external.books.*.suspicions.*.seen",
    "execution.external.books.*.drifts",
    "execution.external.books.*.drifts.*.difference.price",
)
"""inside of what maps hold: these walks do not bring them to matter. The drivers of the cores' own
tests step shards from snapshots beside the live one over them."""
OWN = [field for field in LOST_FIELDS if EACH not in field.path]
INNER = [field for field in LOST_FIELDS if EACH in field.path]


def is_noticed(field: LostField) -> bool:
    """Whatever is raised is a finding: sound cores raise nothing in these walks."""
    try:
        with field.planted():
            for scene in SCENES:
                walked(scene, (0, 1))
    except Exception:  # noqa: BLE001
        return True
    return False


@pytest.mark.parametrize("field", OWN, ids=lambda field: field.name)
def test_a_field_that_a_snapshot_loses_is_noticed(field: LostField) -> None:
    assert is_noticed(field) == (field.name not in WITHOUT_EFFECT)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("field", INNER, ids=lambda field: field.name)
def test_a_field_inside_that_a_snapshot_loses_is_noticed(field: LostField) -> None:
    assert is_noticed(field) == (field.name not in NOT_REACHED)


def test_the_lists_name_fields_that_there_are() -> None:
    assert {*WITHOUT_EFFECT, *NOT_REACHED} <= {field.name for field in LOST_FIELDS}
