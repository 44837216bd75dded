"""A map has no order once it has been written and read again, so whoever reads it may get any."""

from __future__ import annotations

import json


def reversed_maps(data: bytes) -> bytes:
    """The same JSON, its objects told from the last key to the first."""
    found = json.loads(data, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
