"""The mirrors of ~/.m2/settings.xml are honored."""

from pathlib import Path

import pytest

from tapeline.cli.stack import mirrors

SETTINGS = """<?xml version="1.0"?>
<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <mirrors>
    <mirror><id>no</id><mirrorOf>*</mirrorOf><blocked>true</blocked><url>http://no</url></mirror>
    <mirror><id>m</id><mirrorOf>{of}</mirrorOf><url>http://mirror/maven/</url></mirror>
  </mirrors>
</settings>
"""


@pytest.mark.parametrize(
    ("of", "is_mirrored"),
    [
        ("central", True),
        ("*", True),
        ("external:*", True),
        ("ours, central", True),
        ("*,!central", False),
        ("ours", False),
    ],
)
def test_a_mirror_stands_for_what_its_pattern_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, is_mirrored: bool
) -> None:
    path = tmp_path / "settings.xml"
    path.write_text(SETTINGS.format(of=of))
    monkeypatch.setattr(mirrors, "SETTINGS", path)
    url = mirrors.mirrored({"central": "http://public"})["central"]
    assert url == ("http://mirror/maven" if is_mirrored else "http://public")


@pytest.mark.parametrize("text", [None, "", "<settings>", "<settings/>"])
def test_without_usable_settings_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "settings.xml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(mirrors, "SETTINGS", path)
    assert mirrors.mirrored({"central": "http://public"}) == {"central": "http://public"}
