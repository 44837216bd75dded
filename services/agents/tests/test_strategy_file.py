"""A strategy in one file: the one the docs show, and files that are none."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
from agents_samples import bar, trigger_config

from tapeline.agents.plugins import BadConfig, make_watch
from tapeline.agents.strategy_file import StrategyUnusable, load_strategy_file, offer_folder

PAGE = Path(__file__).parents[3] / "docs" / "how-to-add-a-trigger.md"


@pytest.fixture
def streak(tmp_path: Path) -> Path:
    """The file of the docs."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    path = tmp_path / "streak.py"
    path.write_text(found.group(1))
    return path


def test_a_config_record_may_name_an_offered_file_by_its_digest(streak: Path) -> None:
    strategy = load_strategy_file(streak)
    assert strategy.digest == sha256(streak.read_bytes()).hexdigest()
    assert strategy.implementation_name == f"streak@{strategy.digest[:16]}"
    with pytest.raises(BadConfig, match="there is no implementation 'streak@"):
        make_watch(trigger_config("streak", strategy.implementation_name))
    strategy.offer()
    watch = make_watch(trigger_config("streak", strategy.implementation_name, {"length": "2"}))
    state = watch.core.initial()
    for day, close in enumerate((10.0, 11.0, 12.0), start=1):
        state, opinion = watch.core.step(state, bar(day, close))
    assert opinion is not None
    assert opinion.direction == "LONG"
    assert watch.core.load(watch.core.dump(state)) == state


def test_another_content_is_another_strategy(streak: Path) -> None:
    before = load_strategy_file(streak)
    streak.write_text(streak.read_text().replace("length: int = 3", "length: int = 4"))
    after = load_strategy_file(streak)
    assert before.implementation_name != after.implementation_name
    assert before.implementation(name="s", interval_ns=1).length == 3
    assert after.implementation(name="s", interval_ns=1).length == 4


def test_a_folder_offers_all_its_files_and_nothing_is_written_beside_them(streak: Path) -> None:
    assert [strategy.name for strategy in offer_folder(streak.parent)] == ["streak"]
    with pytest.raises(StrategyUnusable, match="no folder"):
        offer_folder(streak.parent / "none")
    assert list(streak.parent.iterdir()) == [streak]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text + "\nx = 1 / 0\n", r"streak\.py line \d+ cannot be run: ZeroDivision"),
        (lambda text: text + "\ndef (\n", r"streak\.py line \d+ cannot be run: SyntaxError"),
        (lambda text: text.replace("def step", "def stepped"), "one class with a step; it has no"),
        (lambda text: text.replace("def is_warm", "def warm"), "Streak lacks is_warm"),
        (lambda text: text.replace("    interval_ns: int\n", ""), "Streak lacks interval_ns"),
        (lambda text: text + "\nclass B:\n    def step(self): ...\n", "it has Streak, B"),
    ],
)
def test_a_file_that_is_no_strategy_is_refused_with_what_it_lacks(
    streak: Path, change: object, said: str
) -> None:
    assert callable(change)
    streak.write_text(change(streak.read_text()))
    with pytest.raises(StrategyUnusable, match=said):
        load_strategy_file(streak)


def test_a_file_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StrategyUnusable) as caught:
        load_strategy_file(Path("none.py"))
    assert caught.value.cause == f"There is no strategy file none.py in {tmp_path}."
    assert "Python files there: mine.py." in caught.value.remedy
    assert "dataclass" not in caught.value.remedy
    with pytest.raises(StrategyUnusable, match="there is no folder"):
        load_strategy_file(tmp_path / "nowhere" / "mine.py")
    folder = tmp_path / "folder.py"
    folder.mkdir()
    with pytest.raises(StrategyUnusable, match=r"cannot be read: is a directory"):
        load_strategy_file(folder)
