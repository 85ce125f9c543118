"""Jobs and their events as rows, and back. A row that cannot be read is a CorruptRow, and nobody else's trouble."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from jobrunner.errors import CorruptRow
from jobrunner.model import (
    BoardEntry,
    CancelMode,
    Job,
    JobClass,
    JobError,
    JobState,
    Parked,
    Posting,
    Priority,
    new_job_id,
)
from jobrunner.persistence.encoding import decode
from jobrunner.policies import NO_POLICIES, Placement, Policies

_CORRUPT_HINT = (
    "Somebody or something changed it outside of jobrunner. Mend the row, or delete it; other jobs go on."
)
_NUMBERS = ("seq", "epoch", "attempt", "deaths", "created_ms", "updated_ms", "available_ms")
LAST_EPOCH = 2**53
_NUMBERS_OR_NONE = ("started_ms", "finished_ms", "failover_ms")


def job_from_row(row: Any) -> Job:
    """The job of a row of ``jobs``; raises CorruptRow, naming the job and what is wrong, if it cannot be read."""
    what = f"The row of job {row['id']}"
    try:
        return Job(
            **{name: _number(row, name) for name in _NUMBERS},
            **{name: row[name] if row[name] is None else _number(row, name) for name in _NUMBERS_OR_NONE},
            id=_id(row["id"]),
            type=row["type"],
            state=JobState(row["state"]),
            priority=Priority(row["priority"]),
            parameters=_mapping(decode(row["parameters"], what=what)),
            factory=decode(row["factory"], what=what),
            properties=_mapping(decode(row["properties"], what=what)),
            job_class=JobClass(
                type=row["type"],
                node=row["node_pin"],
                capabilities=_names(decode(row["capabilities"], what=what)),
            ),
            owner=row["owner"],
            node=row["node"],
            cancel=CancelMode(row["cancel"]) if row["cancel"] else None,
            result=decode(row["result"], what=what),
            error=JobError.from_json(_mapping(decode(row["error"], what=what))) if row["error"] else None,
            note=row["note"],
            idempotency_key=row["idempotency_key"],
            timeout=None if row["timeout"] is None else float(row["timeout"]),
            author=row["author"],
            expires_ms=row["expires_ms"] if row["expires_ms"] is None else _number(row, "expires_ms"),
            policies=_policies(row["policies"], what),
            unique_key=row["unique_over"],
            jobset_id=row["jobset_id"],
            parked=Parked(row["parked"]) if row["parked"] else None,
            parked_before=Parked(row["parked_before"]) if row["parked_before"] else None,
            awaits=row["awaits"],
            held=bool(row["held"]),
            adopted=bool(row["adopted"]),
            misfits=row["misfits"] or 0,
            usage=_mapping(decode(row["usage"], what=what)) if row["usage"] else None,
            from_results=bool(row["from_results"]),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptRow(f"{what} cannot be read: {error}.", hint=_CORRUPT_HINT) from error
    except CorruptRow as error:
        raise CorruptRow(error.message, hint=_CORRUPT_HINT) from error


def state_of_row(row: Any) -> JobState:
    """The state of a row of ``jobs``; raises CorruptRow if there is no such state."""
    try:
        return JobState(row["state"])
    except ValueError as error:
        raise CorruptRow(
            f"The row of job {row['id']} cannot be read: {error}.", hint=_CORRUPT_HINT
        ) from error


def board_entry(job: Job) -> BoardEntry:
    """What the board should hold of an open job."""
    return BoardEntry(
        job_id=job.id,
        job_class=job.job_class,
        priority=job.priority,
        posted_ms=job.created_ms,
        available_ms=job.available_ms if job.available_ms > job.created_ms else 0,
    )


def row_of_posting(posting: Posting, now_ms: int) -> dict[str, Any]:
    """A row for ``jobs``: a new job that waits for a conductor, or for its time."""
    available_ms = max(posting.available_ms or 0, now_ms)
    return {
        "id": new_job_id(),
        "type": posting.type,
        "state": (JobState.SCHEDULED if available_ms > now_ms else JobState.WAITING).value,
        "priority": int(Priority.NORMAL if posting.priority is None else posting.priority),
        "parameters": dump(posting.parameters),
        "factory": None if posting.factory is None else dump(posting.factory),
        "properties": dump(posting.properties),
        "capabilities": dump(sorted(posting.capabilities)),
        "node_pin": posting.node,
        "epoch": 0,
        "attempt": 1,
        "deaths": 0,
        "timeout": posting.timeout,
        "created_ms": now_ms,
        "updated_ms": now_ms,
        "available_ms": available_ms,
        "author": posting.author,
        "idempotency_key": posting.idempotency_key,
        "expires_ms": posting.expires_ms,
        "policies": None if posting.policies == NO_POLICIES else dump(posting.policies.to_json()),
        "failover_ms": posting.failover_ms,
        "unique_key": posting.unique_key,
        "unique_over": posting.unique_key,
        "jobset_id": posting.jobset_id,
    }


def preferred_again(row: Mapping[str, Any], available_ms: int) -> dict[str, Any]:
    """The columns by which a job waits anew for the node that it prefers, from then on; none for most jobs."""
    return preferring(_policies(row["policies"], f"The row of job {row['id']}").placement, available_ms)


def preferring(placement: Placement | None, available_ms: int) -> dict[str, Any]:
    """The columns of a job that waits for the node that it prefers; none for most jobs."""
    if placement is None or placement.prefer is None:
        return {}
    return {"node_pin": placement.prefer, "failover_ms": placement.failover_ms(available_ms)}


POSTED_COLUMNS = (
    "id",
    "type",
    "state",
    "priority",
    "parameters",
    "factory",
    "properties",
    "capabilities",
    "node_pin",
    "epoch",
    "attempt",
    "deaths",
    "timeout",
    "created_ms",
    "updated_ms",
    "available_ms",
    "author",
    "idempotency_key",
    "expires_ms",
    "policies",
    "failover_ms",
    "unique_key",
    "unique_over",
    "jobset_id",
)


def posted_event(row: Mapping[str, Any]) -> dict[str, Any]:
    """The event with which a job's history begins."""
    data = {"type": row["type"], "author": row["author"]}
    return event_row(row["id"], "posted", at_ms=row["created_ms"], data=data)


EVENT_COLUMNS = ("job_id", "at_ms", "kind", "epoch", "attempt", "owner", "data")


def event_row(
    job_id: str,
    kind: str,
    *,
    at_ms: int,
    epoch: int = 0,
    attempt: int = 1,
    owner: str | None = None,
    data: Any = None,
) -> dict[str, Any]:
    """A row for ``events``."""
    return {
        "job_id": job_id,
        "at_ms": at_ms,
        "kind": kind,
        "epoch": epoch,
        "attempt": attempt,
        "owner": owner,
        "data": None if data is None else json.dumps(data),
    }


def event_from_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """``at_ms``, ``kind``, ``epoch``, ``attempt``, ``owner`` and ``data`` of an event; what is broken of it says so."""
    try:
        data = decode(row["data"])
    except CorruptRow as error:
        data = {"unreadable": error.message}
    return {key: row[key] for key in ("at_ms", "kind", "epoch", "attempt", "owner")} | {"data": data}


def dump(value: Any) -> str:
    """JSON as text, as ``jobs`` keeps it: searchable, so not escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _number(row: Any, name: str) -> int:
    value = row[name]
    if not isinstance(value, int):  # SQLite keeps any text in any column
        raise ValueError(f"{name} is no number but {value!r}")
    if name == "epoch" and not 0 <= value < LAST_EPOCH:  # else raising it fails, and with it those beside it
        raise ValueError(f"{name} is {value}")
    return value


def _policies(text: str | None, what: str) -> Policies:
    return NO_POLICIES if text is None else Policies.from_json(decode(text, what=what))


def _id(value: str) -> str:
    """The job's id, if it can be one: its flows' ids are made of it."""
    uuid.UUID(value)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"an object was expected, not {value!r}")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"a list of names was expected, not {value!r}")
    return tuple(value)
