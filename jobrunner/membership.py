"""What a task can learn, while it runs, of the other jobs of its jobset.

    from jobrunner import members

    for member in members():
        print(member.type, member.state, member.result)

A conductor binds a reader to what it runs, which asks the database; nothing can be changed by it. Outside of a
conductor, and for a job that belongs to no set, there are no members.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.states import JobState

Json = Any

MEMBERS_LIMIT = 1000
"""So many members are read at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A job of the set, as it stood when it was asked for."""

    place: int
    """Its place in the set, counted from 0."""
    id: str
    type: str
    state: JobState
    is_self: bool
    """Whether it is the job that asks."""
    node: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    result: Json = None
    """What its flow provided, by name, once it has succeeded; parts that are too large are left out, in words."""
    error: str | None = None


Reader = Callable[[int], "list[Member]"]

_reader: contextvars.ContextVar[Reader | None] = contextvars.ContextVar("jobrunner_members", default=None)


def bind(reader: Reader | None) -> contextvars.Token[Reader | None]:
    """Make ``reader`` the one that :func:`members` asks, in the present context; for conductors."""
    return _reader.set(reader)


def unbind(token: contextvars.Token[Reader | None]) -> None:
    """Undo :func:`bind`."""
    _reader.reset(token)


def members(limit: int = MEMBERS_LIMIT) -> list[Member]:
    """The jobs of the calling task's jobset, itself among them, in the order in which they were posted.

    One query. At most ``limit`` of them, and never more than MEMBERS_LIMIT. Raises StoreUnavailable if the database is
    away.
    """
    reader = _reader.get()
    return [] if reader is None else reader(max(0, min(limit, MEMBERS_LIMIT)))
