"""The notebook of the docs runs over a recorded run; what is committed has no outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from proving.playing import Finished, environment

from tapeline.contracts import topics
from tapeline.research import read, tables

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "run-as-frames.ipynb"
LIMIT_S = 240
NOTEBOOKS: Any = nbformat
"""has no types"""


@pytest.fixture
def at_home(undisturbed: Finished) -> dict[str, str]:
    """Where the run is found."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": undisturbed.settings.kafka_bootstrap_servers,
        "DATABASE_URL": undisturbed.database_url,
        "TAPELINE_HOME": str(undisturbed.folder.parent.parent),
        "TAPELINE_RUN": undisturbed.run.name,
    }


# The kernel's own libraries still warn about sockets and loops.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_from_the_first_cell_to_the_last(at_home: dict[str, str]) -> None:
    notebook = NOTEBOOKS.read(NOTEBOOK, as_version=4)
    with environment(at_home):
        NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "paper:" in "".join(output.get("text", "") for output in outputs)


def test_what_is_committed_has_no_outputs() -> None:
    cells = NOTEBOOKS.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_every_topic_of_the_run_is_a_frame(undisturbed: Finished, at_home: dict[str, str]) -> None:
    name = undisturbed.run.name
    with environment(at_home):
        heights = {topic: read(topic, name).height for topic in sorted(topics.TOPICS)}
        described = tables(name).description
    assert heights[topics.FILLS] == described.fills > 0
    for topic in (topics.TICKS, topics.SIGNALS, topics.LLM_CALLS, topics.JOURNAL, topics.CONFIG):
        assert heights[topic] > 0
