"""What the nodes' configurations say of semaphores, as it is kept in SQL."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

NODE = "node:"
"""What the limit of a node is called. It is no semaphore: the node's workers share the number among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configured:
    """What the configuration of a node says of a semaphore; None is as the jobs say."""

    count: int | None = None
    starts: int | None = None
    period_ms: int | None = None
    by: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def configured_of(text: str | None) -> Configured:
    """Read back what ``to_json`` wrote; what somebody else has written there says nothing."""
    if text is None:
        return NOT_CONFIGURED
    with suppress(ValueError, TypeError):
        return Configured(**json.loads(text))
    return NOT_CONFIGURED


NOT_CONFIGURED = Configured()
