"""Removing jobs for good: their rows, and all that belongs to them, in one transaction.

Whoever writes anything of a job locks its row in ``jobs`` first; so does this, and so nothing is left behind. A job
that runs is never removed, nor one that open jobs come after: they would wait for ever, or miss its result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from jobrunner.model import OPEN_STATES, JobState
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import lock_rows, locking
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import (
    attempts,
    events,
    jobs,
    jobsets,
    links,
    logbooks,
    output,
    permits,
    signals,
    tags,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What became of jobs that were to be removed."""

    ids: list[str] = field(default_factory=list)
    """These are gone, and were there."""
    kept: list[str] = field(default_factory=list)
    """In another state than they may be removed in."""
    needed: list[str] = field(default_factory=list)
    """Open jobs come after them, or are in the same jobset."""


def remove(
    database: Database, job_ids: Sequence[str], *, states: Collection[JobState] | None = None
) -> Removed:
    """Remove those of the jobs that are in one of these states, and that no open job needs; one transaction.

    :param states: None for all but RUNNING, even one that cannot be read; then a jobset may lose its members one by one

    What is not there is not among the outcome. Costs three round trips, and one more for members of jobsets.
    """
    if not job_ids:
        return Removed()
    return database.pipelined(lambda pipeline: _remove(pipeline, job_ids, states))


def _remove(pipeline: Pipeline, job_ids: Sequence[str], states: Collection[JobState] | None) -> Removed:
    rows = lock_rows(pipeline, job_ids, _LOCKED)
    removed = Removed()
    fitting = [row for row in rows if _may_go(row["state"], states)]
    removed.kept.extend(row["id"] for row in rows if row not in fitting)
    if not fitting:
        return removed
    needed = {row["after_id"] for row in pipeline.ask(_NEEDED, {"job_ids": [row["id"] for row in fitting]})}
    if states is not None:
        needed |= _of_open_sets(pipeline, fitting)
    going = [row for row in fitting if row["id"] not in needed]
    removed.needed.extend(sorted(needed))
    if going:
        _remove_all(pipeline, going)
        removed.ids.extend(row["id"] for row in going)
    return removed


def _may_go(state: str, states: Collection[JobState] | None) -> bool:
    return state != JobState.RUNNING.value if states is None else state in {one.value for one in states}


def _of_open_sets(pipeline: Pipeline, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Those of the jobs whose jobsets have open members: what became of them is still asked for."""
    sets = sorted({row["jobset_id"] for row in rows if row["jobset_id"] is not None})
    if not sets:
        return set()
    open_ = {row["jobset_id"] for row in pipeline.ask(_OPEN_SETS, {"keys": sets})}
    return {row["id"] for row in rows if row["jobset_id"] in open_}


def _remove_all(pipeline: Pipeline, rows: Sequence[dict[str, Any]]) -> None:
    ids, seqs = ([row[name] for row in rows] for name in ("id", "seq"))
    for deletion in _BY_JOB:
        deletion.add(pipeline, ids)
    _LINKS_TO.add(pipeline, ids)
    for deletion in _BY_SEQ:
        deletion.add(pipeline, seqs)
    sets = sorted({row["jobset_id"] for row in rows if row["jobset_id"] is not None})
    if sets:
        pipeline.add(_EMPTY_SETS, [{"keys": sets}])


class _Deletion:
    """Deletes the rows of a table that have one of many keys in a column, and meet the conditions.

    For PostgreSQL the keys are one value, an array: reading and planning hundreds of parameters for each statement
    would take it twice as long as deleting the rows.
    """

    def __init__(self, column: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> None:
        rows = column.table.delete().where(*conditions)
        array = sa.bindparam("keys", type_=sa.ARRAY(column.type))
        self._listed = Statement(rows.where(column.in_(sa.bindparam("keys", expanding=True))), many="keys")
        self._array = Statement(rows.where(column == sa.any_(array)))

    def add(self, pipeline: Pipeline, keys: Sequence[Any]) -> None:
        pipeline.add(self._array if pipeline.dialect == "postgresql" else self._listed, [{"keys": keys}])


_LOCKED = locking(sa.select(jobs.c.id, jobs.c.seq, jobs.c.state, jobs.c.jobset_id))
_NEEDED = Statement(
    sa.select(links.c.after_id)
    .join(jobs, jobs.c.id == links.c.job_id)
    .where(
        links.c.after_id.in_(sa.bindparam("job_ids", expanding=True)),
        jobs.c.state.in_([state.value for state in OPEN_STATES]),
    )
    .distinct(),
    many="job_ids",
)
_OPEN_SETS = Statement(
    sa.select(jobs.c.jobset_id)
    .where(
        jobs.c.jobset_id.in_(sa.bindparam("keys", expanding=True)),
        jobs.c.state.in_([state.value for state in OPEN_STATES]),
    )
    .distinct(),
    many="keys",
)
_BY_JOB = (
    _Deletion(logbooks.c.uuid),  # the flows and atoms in it go with it: TaskFlow's foreign keys say so
    *(_Deletion(table.c.job_id) for table in (events, output, attempts, links, signals, permits)),
)
_LINKS_TO = _Deletion(
    links.c.after_id,
    ~sa.exists().where(
        jobs.c.id == links.c.job_id, jobs.c.started_ms.is_(None), jobs.c.state != JobState.SUCCEEDED.value
    ),
)
"""Who was skipped, and is retried, is told that the job was deleted; nobody else asks for it any more."""
_BY_SEQ = (_Deletion(tags.c.job_seq), _Deletion(jobs.c.seq))
_EMPTY_SETS = Statement(
    jobsets.delete().where(
        jobsets.c.id.in_(sa.bindparam("keys", expanding=True)),
        ~sa.exists().where(jobs.c.jobset_id == jobsets.c.id),
    ),
    many="keys",
)
