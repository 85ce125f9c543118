"""What atoms did, by their own account: lines in a file of this run's, which the system under test has no part in."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EXECUTE, REVERT, PROGRESS = "execute", "revert", "progress"

_place: Path | None = None
"""Where this process's atoms tell; an owner runs one job."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that one atom did."""

    atom: str
    what: str
    turn: Any = None
    """What the retry above the atom provided, or the retry itself did; None where there is none."""
    saw: Mapping[str, str] = field(default_factory=dict)
    """Of each result that the atom was given: its token by the name of the atom that made it."""
    token: str | None = None
    """Of an execution: what tells its result from that of any other. Of a revert: that of the result it undid."""
    failures: tuple[str, ...] = ()
    """Of a revert: the atoms that had failed, as it was told."""
    amount: float | None = None
    """Of progress that is known to be committed."""
    pid: int = 0


def tell_in(path: Path) -> None:
    """From now on the atoms of this process tell in this file."""
    global _place
    _place = path


_label = ""


def label_of(place: int, attempt: int) -> str:
    """What tells the atoms of a job's attempt from those of others: jobs in the order in which they run, from 0."""
    return (f" of job {place + 1}" if place else "") + (f", attempt {attempt}" if attempt > 1 else "")


def is_again() -> bool:
    """Whether the atoms of this process are those of a later attempt."""
    return "attempt" in _label


def label(place: int, attempt: int) -> None:
    """From now on the atoms of this process are those of this attempt."""
    global _label
    _label = label_of(place, attempt)


def new_token() -> str:
    return uuid.uuid4().hex


def leave(line: Line) -> None:
    """Append the line in one ``write``: it survives the process from then on."""
    assert _place is not None
    named = {"atom": line.atom + _label, "saw": {name + _label: token for name, token in line.saw.items()}}
    text = json.dumps(asdict(line) | named | {"pid": os.getpid()}) + "\n"
    descriptor = os.open(_place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    assert written == len(text.encode())


def read(path: Path) -> list[Line]:
    """All lines so far, in the order in which they were left."""
    if not path.exists():
        return []
    return [
        Line(**{**json.loads(text), "failures": tuple(json.loads(text)["failures"])})
        for text in path.read_text().splitlines()
    ]
