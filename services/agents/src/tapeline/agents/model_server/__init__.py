"""The local offline model: an OpenAI-compatible HTTP server that answers by written rules."""

from typing import Final

OFFLINE_MODEL: Final = "offline-rules-1"
"""its name, in every answer; nothing else may call itself so"""
