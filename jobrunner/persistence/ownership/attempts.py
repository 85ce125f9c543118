"""Attempts that were followed by another: how each ended. Their flows and their output are kept under their numbers.

What is the present attempt's is in the job's own row; it comes here in the transaction that begins the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import CorruptRow
from jobrunner.model import AttemptRecord, JobError, JobState
from jobrunner.persistence.encoding import decode
from jobrunner.persistence.pipelines.inserts import insert_new
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import attempts

_COLUMNS = ("job_id", "attempt", "state", "node", "started_ms", "finished_ms", "result", "error")


def keep_attempt(pipeline: Pipeline, row: Mapping[str, Any]) -> None:
    """Keep how an attempt ended, from the job's row as it was then; one that is kept already stays as it is."""
    kept = {name: row[name] for name in _COLUMNS if name != "job_id"}
    pipeline.add(insert_new(pipeline.dialect, attempts, _COLUMNS), [{"job_id": row["id"], **kept}])


def read_attempts(database: Database, job_id: str) -> list[AttemptRecord]:
    """The attempts of a job that were followed by another, oldest first; one query by index."""
    query = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
    with database.read() as connection:
        return [_record(row) for row in connection.execute(query).mappings()]


def _record(row: Any) -> AttemptRecord:
    """An attempt; what is broken of it is left out, for there is more to show than that."""
    try:
        state = JobState(row["state"])
    except ValueError:
        state = JobState.FAILED
    error = _decoded(row["error"])
    return AttemptRecord(
        attempt=row["attempt"],
        state=state,
        node=row["node"],
        started_ms=row["started_ms"],
        finished_ms=row["finished_ms"],
        result=_decoded(row["result"]),
        error=JobError.from_json(error) if isinstance(error, Mapping) else None,
    )


def _decoded(text: str | None) -> Any:
    try:
        return decode(text)
    except CorruptRow:
        return None
