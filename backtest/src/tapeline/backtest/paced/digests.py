"""What a run said, as digests: the same as those of a replay of the same run on Kafka."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tapeline.agents.triggers_stage import INSTANCE
from tapeline.backtest.run_replay import whole_digest
from tapeline.backtest.stage_replay import digest_of
from tapeline.contracts import topics
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import digest_body
from tapeline.runtime.core import Output

STAGE_TOPICS = (topics.SIGNALS, topics.DECISIONS, topics.DISCUSSIONS)


class Digests:
    """Hears a chain; `found` is name and topic of each part -> digest, hex."""

    def __init__(self, shard_topics: Mapping[str, tuple[str, ...]]) -> None:
        """`shard_topics`: service -> the topics it answers for."""
        self._shard_topics = shard_topics
        self._said: dict[str, dict[str, bytes]] = {}
        self._hashes: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        """records by topic"""

    def add(self, who: str, output: Output) -> None:
        """Takes one output; watermarks and what is not compared are left out."""
        topic = output.topic
        if isinstance(output.record, Watermark):
            return
        self.counts[topic] = self.counts.get(topic, 0) + 1
        if topic in self._shard_topics.get(who.partition("/")[0], ()):
            body = digest_body(output.record)
            digest = self._hashes.setdefault(f"{who} {topic}", hashlib.sha256())
            digest.update(len(body).to_bytes(4, "big") + body)
        elif topic in STAGE_TOPICS and (who == INSTANCE or who.startswith("group/")):
            said = self._said.setdefault(f"{who} {topic}", {})
            said[output.event_id] = digest_body(output.record)

    def found(self) -> dict[str, str]:
        """The digests by part and topic, sorted."""
        derived = {name: digest_of(said) for name, said in self._said.items()}
        money = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        return dict(sorted({**derived, **money}.items()))

    def whole(self) -> str:
        """One digest over all of them: that of a replay which says the same."""
        return whole_digest(self.found())
