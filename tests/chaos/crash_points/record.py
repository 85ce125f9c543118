"""What is recorded of a job, by plain SQL over the plain drivers: nothing of jobrunner reads it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql

from jobrunner.model import flow_id
from tests.chaos.crash_points.evidence import label_of

Row = Mapping[str, Any]

JOB_COLUMNS = ("state", "attempt", "owner", "node", "cancel", "result", "error", "note", "deaths")
ATTEMPT_COLUMNS = ("attempt", "state", "result", "error")
INJECTOR = "_TaskFlow_INJECTOR"
FLOW_COLUMNS = ("name", "state", "meta")
ATOM_COLUMNS = (
    "name",
    "atom_type",
    "version",
    "state",
    "intention",
    "meta",
    "results",
    "failure",
    "revert_results",
    "revert_failure",
)
JSON_COLUMNS = frozenset(
    {"result", "error", "meta", "results", "failure", "revert_results", "revert_failure"}
)
PENDING, RUNNING, SUCCESS, FAILURE = "PENDING", "RUNNING", "SUCCESS", "FAILURE"
REVERTING, REVERTED = "REVERTING", "REVERTED"
EXECUTED = (SUCCESS, FAILURE, REVERTING, REVERTED)
"""The states of an atom whose execution has ended."""


@dataclass(frozen=True)
class Atom:
    """An atom's row; JSON columns are decoded."""

    row: Row

    @property
    def is_retry(self) -> bool:
        return bool(self.row["atom_type"] == "RETRY_DETAIL")

    @property
    def turns(self) -> list[Any]:
        """What a retry has provided so far; one that is undone has forgotten it."""
        return [value for value, _ in self.row["results"] or []]

    @property
    def progress(self) -> float:
        return float((self.row["meta"] or {}).get("progress", 0.0))

    @property
    def result(self) -> Any:
        """What the atom's last execution returned, if it has ended well; a row keeps that of the turn before it."""
        return self.row["results"] if self.row["state"] in (SUCCESS, REVERTING, REVERTED) else None

    @property
    def turn(self) -> Any:
        """The turn of an execution that has ended."""
        if self.result is not None:
            return self.result["turn"]
        return None if self.row["failure"] is None else self.row["failure"]["exc_args"][1]

    def finished(self) -> set[tuple[str, Any]]:
        """What the atom is recorded to have done to the end: pairs of "execute" or "revert" and the turn."""
        done = set()
        if self.is_retry:
            done |= {("execute", turn) for turn in self.turns}
        elif self.row["state"] in EXECUTED:
            done.add(("execute", self.turn))
        if self.row["state"] == REVERTED:
            done.add(("revert", None if self.is_retry else self.turn))
        return done


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that is recorded of a job."""

    job: Row
    books: list[Row]
    flows: list[Row]
    atoms: dict[str, Atom]
    doubles: list[str]
    """Names that more than one row has."""
    events: list[str]
    """The kinds of what happened to the job, in order."""
    before: list[Row] = field(default_factory=list)
    """The rows of the jobs that come before it."""
    attempts: list[Row] = field(default_factory=list)
    """How the attempts ended that were followed by another."""
    taken: list[bool] = field(default_factory=list)
    """Of each signal that the job was sent, in order: whether a task took it."""

    @property
    def retries(self) -> list[Atom]:
        return [atom for atom in self.atoms.values() if atom.is_retry]


def read(url: str, job_ids: Sequence[str]) -> Record:
    """The record of jobs that run one after the other, as it is committed."""
    with _cursor(url) as cursor:
        found = [_read(cursor, place, job_id) for place, job_id in enumerate(job_ids)]
    return Record(
        job=found[-1].job,
        before=[one.job for one in found[:-1]],
        books=[book for one in found for book in one.books],
        flows=[flow for one in found for flow in one.flows],
        atoms={name: atom for one in found for name, atom in one.atoms.items()},
        doubles=[name for one in found for name in one.doubles],
        events=[kind for one in found for kind in one.events],
        attempts=[attempt for one in found for attempt in one.attempts],
        taken=[taken for one in found for taken in one.taken],
    )


def _read(cursor: Any, place: int, job_id: str) -> Record:
    (job,) = _rows(cursor, JOB_COLUMNS, "jobs WHERE id = '{}'", job_id)
    books = _rows(cursor, ("name", "meta"), "logbooks WHERE uuid = '{}'", job_id)
    events = _rows(cursor, ("kind",), "events WHERE job_id = '{}' ORDER BY seq", job_id)
    signals = _rows(cursor, ("taken_ms",), "signals WHERE job_id = '{}' ORDER BY seq", job_id)
    attempts = _rows(cursor, ATTEMPT_COLUMNS, "job_attempts WHERE job_id = '{}' ORDER BY attempt", job_id)
    flows: list[Row] = []
    rows: list[tuple[str, Row]] = []
    for attempt in range(1, job["attempt"] + 1):
        flow = flow_id(job_id, attempt)
        flows += _rows(cursor, FLOW_COLUMNS, "flowdetails WHERE uuid = '{}'", flow)
        label = label_of(place, attempt)
        atoms = _rows(cursor, ATOM_COLUMNS, "atomdetails WHERE parent_uuid = '{}'", flow)
        rows += [(row["name"] + label, row) for row in atoms]
    names = [name for name, _ in rows]
    return Record(
        job=job,
        books=books,
        flows=flows,
        atoms={name: Atom(row) for name, row in rows},
        doubles=sorted({name for name in names if names.count(name) > 1}),
        events=[row["kind"] for row in events],
        attempts=attempts,
        taken=[row["taken_ms"] is not None for row in signals],
    )


def _rows(cursor: Any, columns: tuple[str, ...], where: str, job_id: str) -> list[Row]:
    cursor.execute(f"SELECT {', '.join(columns)} FROM {where.format(job_id)}")
    return [dict(zip(columns, map(_decoded, columns, row), strict=True)) for row in cursor.fetchall()]


def _decoded(column: str, value: Any) -> Any:
    """psycopg has decoded what PostgreSQL keeps as JSON."""
    return json.loads(value) if column in JSON_COLUMNS and isinstance(value, str) else value


@contextlib.contextmanager
def _cursor(url: str) -> Iterator[Any]:
    connection = _connection(url)
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        yield cursor


def _connection(url: str) -> Any:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return sqlite3.connect(rest.removeprefix("/"), isolation_level=None)
    place = urlsplit(url)
    if scheme.startswith("mysql"):
        return pymysql.connect(
            host=place.hostname,
            port=place.port or 3306,
            user=place.username,
            database=place.path[1:],
            autocommit=True,
            ssl_disabled=True,
        )
    return psycopg.connect(
        host=place.hostname, port=place.port, user=place.username, dbname=place.path[1:], autocommit=True
    )
