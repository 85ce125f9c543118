"""Locks on jobs' rows: whoever changes a job reads it under one, and writes before the lock ends.

Rows are locked in the order of their ids, and those of semaphores after them, in the order of their names, so that two
transactions over the same jobs cannot dead-lock. Costs one round trip for any number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import JobNotFound
from jobrunner.model import JobState
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import jobs


def locking(query: sa.Select[Any]) -> Statement:
    """``query`` for the jobs whose ids are given as ``job_ids``, with its rows locked in the order of their ids.

    MySQL locks rows as it reads them, in the order of the index that it reads: the index is named, since for a small
    table it would read (and wait for) all rows. SQLite has locked everything at BEGIN.
    """
    given = jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))
    locked = query.where(given).order_by(jobs.c.id).with_for_update()
    return Statement(locked.with_hint(jobs, "FORCE INDEX (id)", "mysql"), many="job_ids")


LOCKED_JOBS = locking(sa.select(jobs))
_NOT_READ_TO_BEGIN: dict[str, None] = dict.fromkeys(
    ("finished_ms", "idempotency_key", "unique_key", "parked_before")
)
"""What tells nothing of a job that is about to run, or has ended: reading it would cost more than deciding."""
_READ_TO_BEGIN = tuple(column for column in jobs.c if column.name not in _NOT_READ_TO_BEGIN)
_LOCKED_TO_BEGIN = locking(sa.select(*_READ_TO_BEGIN))
_LOCKED_AS_TEXTS = locking(sa.select(sa.func.json_array(*_READ_TO_BEGIN).label("columns")))
LOCKED_EPOCHS = locking(sa.select(jobs.c.id, jobs.c.epoch, jobs.c.state))
LOCKED_ENDS = locking(
    sa.select(
        jobs.c.id, jobs.c.epoch, jobs.c.state, jobs.c.cancel, jobs.c.held, jobs.c.node, jobs.c.started_ms
    )
)
"""What it takes to follow up an attempt with another."""

_HELD = sa.and_(
    sa.func.concat(jobs.c.id, ":", jobs.c.epoch).in_(sa.bindparam("held", expanding=True)),
    jobs.c.state == JobState.RUNNING.value,
)
RELY_ON_EPOCHS = Statement(
    sa.select(
        sa.func.IF(
            sa.func.sum(_HELD, type_=sa.Integer) == sa.bindparam("number", type_=sa.Integer),
            1,
            sa.func.exp(1000 + sa.func.count()),
        )
    )
    .select_from(jobs)
    .where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)))
    .with_for_update()
    .with_hint(jobs, "FORCE INDEX (id)", "mysql"),
    many=("job_ids", "held"),
)
"""Locks jobs' rows as LOCKED_EPOCHS does, and fails unless all of them run in the epochs that are ``held``, each as
``id:epoch``; for ``Pipeline.rely``. That they are locked is what makes the comparison count."""


def lock_rows(pipeline: Pipeline, job_ids: Sequence[str], wanted: Statement) -> list[dict[str, Any]]:
    """Rows of ``jobs`` by id, locked for this transaction, in the order of their ids; one round trip.

    :param wanted: LOCKED_JOBS for whole rows, LOCKED_EPOCHS for what fences need
    """
    ids = sorted(set(job_ids))
    return pipeline.ask(wanted, {"job_ids": ids}) if ids else []


def lock_to_begin(pipeline: Pipeline, job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """As :func:`lock_rows`, of each row what tells something of a job that may begin; None for the rest of it.

    From MariaDB and MySQL a row comes as one text: PyMySQL takes longer to read forty columns than the server to find
    and lock them.
    """
    rows = _rows_as_texts(pipeline, job_ids) if pipeline.dialect == "mysql" else None
    if rows is None:
        rows = lock_rows(pipeline, job_ids, _LOCKED_TO_BEGIN)
    return [{**_NOT_READ_TO_BEGIN, **row} for row in rows]


def _rows_as_texts(pipeline: Pipeline, job_ids: Sequence[str]) -> list[dict[str, Any]] | None:
    """None if a text would be longer than the server's packets may be."""
    texts = [row["columns"] for row in lock_rows(pipeline, job_ids, _LOCKED_AS_TEXTS)]
    if None in texts:
        return None
    names = [column.name for column in _READ_TO_BEGIN]
    return [dict(zip(names, json.loads(text), strict=True)) for text in texts]


def rely_on_epochs(pipeline: Pipeline, epochs: Mapping[str, int]) -> None:
    """Lock the rows of these jobs, and rely on their epochs, and on that they run; no round trip of its own."""
    ids = sorted(epochs)
    held = [f"{job_id}:{epochs[job_id]}" for job_id in ids]
    pipeline.rely(RELY_ON_EPOCHS, {"job_ids": ids, "held": held, "number": len(ids)})


def lock_job(pipeline: Pipeline, job_id: str) -> dict[str, Any]:
    """A job's row, locked for this transaction; raises JobNotFound. One round trip."""
    rows = lock_rows(pipeline, [job_id], LOCKED_JOBS)
    if not rows:
        raise JobNotFound(f"There is no job {job_id}.", hint="`jobrunner list` shows the jobs there are.")
    return rows[0]
