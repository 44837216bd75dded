"""Every version of the schemas reads every other; each way to break that is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from check_evolution import SCHEMAS, check, load, problems, released

Schemas = dict[str, dict[str, Any]]
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}
BEFORE: Schemas = {
    "x.Side": {
        "type": "enum",
        "name": "Side",
        "namespace": "x",
        "symbols": ["UNKNOWN", "BUY", "SELL"],
        "default": "UNKNOWN",
    },
    "x.Order": {
        "type": "record",
        "name": "Order",
        "namespace": "x",
        "doc": "An order.",
        "content_key": ["order_id"],
        "fields": [
            {"name": "order_id", "type": "string", "doc": "its id"},
            {"name": "price", "type": DECIMAL},
            {"name": "side", "type": "x.Side"},
            {"name": "note", "type": "string", "default": ""},
            {"name": "mac", "type": "bytes", "default": "", "outside_digest": True},
        ],
    },
}


def fields(schemas: Schemas) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in schemas["x.Order"]["fields"]}


def changed(change: Callable[[Schemas], Any]) -> Schemas:
    after = copy.deepcopy(BEFORE)
    change(after)
    return after


def test_the_schemas_may_follow_all_released_ones() -> None:
    assert check() == []


def test_released_versions_follow_each_other() -> None:
    versions = list(released().items())
    assert versions, "keep the first release with tools/check_evolution.py --release"
    for place, (name, then) in enumerate(versions):
        for later, now in versions[place:]:
            assert problems(then, now) == [], f"{name} -> {later}"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: None,
        lambda s: s["x.Order"].update(doc="Said otherwise."),
        lambda s: fields(s)["order_id"].update(doc="said otherwise"),
        lambda s: s["x.Order"]["fields"].append({"name": "b", "type": "long", "default": 0}),
        lambda s: s["x.Side"]["symbols"].append("BOTH"),
        lambda s: s.update({"x.New": {**s["x.Side"], "name": "New"}}),
    ],
)
def test_what_every_version_can_read_may_follow(change: Callable[[Schemas], Any]) -> None:
    assert problems(BEFORE, changed(change)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: fields(s)["price"].update(type={**DECIMAL, "scale": 17}), "scale"),
        (lambda s: fields(s)["price"].update(type={**DECIMAL, "precision": 37}), "precision"),
        (lambda s: fields(s)["price"].update(type="bytes"), "logicalType"),
        (lambda s: fields(s)["price"].update(type="double"), "double"),
        (lambda s: s["x.Side"].update(default="BUY"), "default"),
        (lambda s: s["x.Side"].pop("default"), "default"),
        (lambda s: s["x.Side"]["symbols"].remove("SELL"), "SELL is gone"),
        (lambda s: s["x.Order"]["fields"].pop(3), "note is gone"),
        (lambda s: fields(s)["note"].update(name="comment"), "note is gone"),
        (lambda s: fields(s)["note"].update(default="none"), "default of note"),
        (lambda s: fields(s)["note"].pop("default"), "default of note"),
        (lambda s: fields(s)["note"].update(type=["null", "string"]), "may be null"),
        (lambda s: s["x.Order"]["fields"].append({"name": "b", "type": "long"}), "b is missing"),
        (lambda s: s["x.Order"].update(content_key=["side"]), "content_key"),
        (lambda s: fields(s)["mac"].pop("outside_digest"), "outside_digest"),
        (lambda s: s.pop("x.Side") and s["x.Order"]["fields"].pop(2), "x.Side is gone"),
    ],
)
def test_what_could_be_misread_may_not_follow(change: Callable[[Schemas], Any], said: str) -> None:
    assert said in "; ".join(problems(BEFORE, changed(change)))


def test_two_schemas_of_one_name_with_one_fingerprint_are_refused() -> None:
    after = changed(lambda s: fields(s)["price"].update(type={**DECIMAL, "scale": 17}))
    assert "same fingerprint" in "; ".join(problems(BEFORE, after))


def test_an_enum_without_default_takes_no_new_symbol() -> None:
    before = changed(lambda s: s["x.Side"].pop("default"))
    after = copy.deepcopy(before)
    after["x.Side"]["symbols"].append("BOTH")
    assert "may be BOTH" in "; ".join(problems(before, after))


def test_every_type_of_today_is_checked() -> None:
    assert len(load(SCHEMAS)) == len(list(SCHEMAS.glob("*.avsc"))) > 0
