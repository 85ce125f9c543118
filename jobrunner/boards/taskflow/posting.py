"""A TaskFlow posting as text: JSON, bounded in size, read back with distrust."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskflow.jobs.base import JobPriority

MAX_BYTES = 1024 * 1024
"""Of a posting's text. The flow itself is in the persistence backend; a posting only points to it."""

PRIORITIES = (
    JobPriority.VERY_HIGH,
    JobPriority.HIGH,
    JobPriority.NORMAL,
    JobPriority.LOW,
    JobPriority.VERY_LOW,
)
"""In the order in which their jobs are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """What was posted; it never changes."""

    name: str
    details: Mapping[str, Any]
    book: Mapping[str, str] | None  # name and uuid of the logbook
    created_ms: int

    @property
    def created_on(self) -> datetime.datetime:
        """In UTC, without saying so: TaskFlow's times have no zone."""
        moment = datetime.datetime.fromtimestamp(self.created_ms / 1000, datetime.timezone.utc)
        return moment.replace(tzinfo=None)


def to_text(posting: Posting) -> str:
    """The posting as ASCII; raises ValueError if JSON cannot hold it, or if it is larger than MAX_BYTES."""
    content = {
        "name": posting.name,
        "details": posting.details,
        "book": posting.book,
        "created_ms": posting.created_ms,
    }
    try:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"JSON cannot hold it: {error}") from error
    if len(text) > MAX_BYTES:
        raise ValueError(
            f"it has {len(text)} bytes, {MAX_BYTES} are the most; let details point to what is large"
        )
    return text


def to_posting(text: str) -> Posting:
    """Read back what :func:`to_text` wrote; raises ValueError if it was not written by it."""
    try:
        content = json.loads(text)
        found = Posting(
            name=content["name"],
            details=content["details"],
            book=content["book"],
            created_ms=content["created_ms"],
        )
        _check(content["name"], str)
        _check(content["details"], dict)
        if content["book"] is not None:
            _check(content["book"]["name"], str)
            _check(content["book"]["uuid"], str)
        _ = found.created_on  # raises if no calendar has that time
    except (TypeError, KeyError, RecursionError, OverflowError, OSError, ValueError) as error:
        raise ValueError(f"not a posting: {text[:200]!r}") from error
    return found


def _check(value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"not {kind.__name__}: {value!r}")
