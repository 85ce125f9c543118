"""Board entries as text: what drivers store of a job, and read back with distrust.

The text is JSON with the class's key, so that scripts on a server can read it as well. What cannot be read raises
ValueError, whoever wrote it. So does an id that no job can have: there are databases that cannot even be asked for it,
and then for none of those beside it either.
"""

from __future__ import annotations

import json

from jobrunner.model import BoardEntry, JobClass, Priority

ID_LENGTH = 36


def is_id(text: str) -> bool:
    """Whether the store's column for ids could hold it."""
    return 0 < len(text) <= ID_LENGTH and text.isascii() and text.isprintable()


def to_text(entry: BoardEntry) -> str:
    """The entry without its job's id."""
    return json.dumps(
        {
            "class": entry.job_class.key,
            "priority": int(entry.priority),
            "posted_ms": entry.posted_ms,
            "available_ms": entry.available_ms,
            "score": entry.score,
        },
        separators=(",", ":"),
    )


def to_entry(job_id: str, text: str) -> BoardEntry:
    """Read back what :func:`to_text` wrote; raises ValueError if it was not written by it."""
    if not is_id(job_id):
        raise ValueError(f"not a job's id: {job_id[:200]!r}")
    try:
        data = json.loads(text)
        return BoardEntry(
            job_id=job_id,
            job_class=class_of(data["class"]),
            priority=Priority(data["priority"]),
            posted_ms=int(data["posted_ms"]),
            available_ms=int(data["available_ms"]),
        )
    except (TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a board entry: {text[:200]!r}") from error


def class_of(key: str) -> JobClass:
    """Read a class's key; raises ValueError if it is not one, in whatever way."""
    try:
        found = JobClass.from_key(key)
    except RecursionError as error:
        raise ValueError(f"not a class of jobs: {key[:200]!r}") from error
    texts = [found.type, *found.capabilities, *([] if found.node is None else [found.node])]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"not a class of jobs: {key[:200]!r}")
    return found
