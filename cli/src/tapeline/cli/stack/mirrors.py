"""The mirrors of the user's ~/.m2/settings.xml, which the resolver itself does not read."""

import os
from pathlib import Path
from xml.etree import ElementTree

SETTINGS = Path("~/.m2/settings.xml")


def mirrored(repositories: dict[str, str]) -> dict[str, str]:
    """The repositories, each replaced by the first mirror that stands for it."""
    mirrors = _mirrors(SETTINGS.expanduser())
    return {
        name: next((url for of, url in mirrors if _stands_for(of, name)), url)
        for name, url in repositories.items()
    }


def _stands_for(mirror_of: str, name: str) -> bool:
    """Maven's pattern: names, `*` for all, `!name` for all but this one."""
    patterns = [pattern.strip() for pattern in mirror_of.split(",")]
    if f"!{name}" in patterns:
        return False
    return name in patterns or "*" in patterns or "external:*" in patterns


def _mirrors(settings: Path) -> list[tuple[str, str]]:
    try:
        root = ElementTree.parse(settings).getroot()  # noqa: S314 - the user's own file
    except (OSError, ElementTree.ParseError):
        return []
    found = []
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        of, url = mirror.findtext("{*}mirrorOf"), mirror.findtext("{*}url")
        if of and url and mirror.findtext("{*}blocked") != "true":
            found.append((of.strip(), os.path.expandvars(url.strip()).rstrip("/")))
    return found
