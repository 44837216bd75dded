"""A recorded run, its group of language models included, did not know the future."""

from __future__ import annotations

import pytest
from proving.playing import Finished

from tapeline.backtest.lookahead.detector import look
from tapeline.backtest.lookahead.history import history_of_run
from tapeline.backtest.recorded_topics import RecordedTopics
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_triggers_and_groups_of_a_recorded_run_are_clean(undisturbed: Finished) -> None:
    settings = undisturbed.settings
    reader = LogReader(confluent_config(settings), settings.topic_prefix)
    found = look(history_of_run(RecordedTopics(reader), undisturbed.run.run_id), cuts=4)
    assert found.left_out == ()
    assert {"group trend", "group swing", "group committee"} <= set(found.checked)
    assert found.findings == ()
    assert found.decisions > 0
