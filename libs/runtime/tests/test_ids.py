from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from tapeline.runtime.ids import NAMESPACE, content_id, derive_id


def test_the_same_parts_give_the_same_id_in_every_process() -> None:
    known = derive_id("run", "risk/0", "cause", "Denial", 2)
    assert known == "a847b69d-0c94-5f6c-8521-c4b49602c844"
    assert content_id("feed/1") == "7cce1fc2-4673-5b41-b8ba-55522bf1a6e3"


@given(st.lists(st.text(max_size=4), min_size=4, max_size=4, unique=False), st.integers(0, 99))
def test_parts_cannot_be_shifted_into_each_other(parts: list[str], index: int) -> None:
    run, instance, cause, kind = parts
    shifted = (run + instance[:1], instance[1:], cause, kind)
    same = shifted == (run, instance, cause, kind)
    assert (derive_id(*shifted, index) == derive_id(run, instance, cause, kind, index)) is same


def test_the_index_tells_outputs_of_one_cause_apart() -> None:
    ids = {derive_id("run", "risk/0", "cause", "Denial", index) for index in range(100)}
    assert len(ids) == 100


@given(st.text())
def test_an_id_is_a_uuid_of_version_5(content_key: str) -> None:
    assert content_id(content_key) == str(uuid5(NAMESPACE, content_key))
