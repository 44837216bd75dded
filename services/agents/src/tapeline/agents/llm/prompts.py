"""Prompts made of the texts in prompts/ and of figures; nothing from outside becomes a sentence.

Figures go into one fenced JSON block. Text in them (reasons of triggers, of other models, later of
news) stays a JSON string in which the characters that could end the fence are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

Messages = tuple[tuple[str, str], ...]
"""(role, text) in order"""
BAD_ANSWER_MAX_CHARACTERS: Final = 2000
_ESCAPES: Final = {ord("`"): "\\u0060", ord("<"): "\\u003c", ord(">"): "\\u003e"}


def ask(role: str, figures: Mapping[str, Any]) -> Messages:
    """The prompt of a role (analyst, economist, portfolio_manager)."""
    task = _text(role).replace("{{figures}}", fenced(figures))
    return (("system", _text("system")), ("user", task))


def ask_again(messages: Messages, bad_answer: str, reason: str) -> Messages:
    """The prompt once more, with the answer that could not be used and why."""
    what = {"reason": reason, "your_answer": bad_answer[:BAD_ANSWER_MAX_CHARACTERS]}
    return (*messages, ("user", _text("repair").replace("{{problem}}", fenced(what))))


def fenced(value: Mapping[str, Any]) -> str:
    """JSON in a fence that its content cannot end; raises ValueError for NaN and infinities."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"```json\n{text.translate(_ESCAPES)}\n```"


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath("prompts", f"{name}.md").read_text("utf-8").strip()
