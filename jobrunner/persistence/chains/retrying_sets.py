"""Retrying members of a jobset: those that did not succeed run again, in the order in which they come after others.

A member that comes after others waits for those of them that are open again, or is decided upon at once; so what a
member was run for before, say the failure of another, is looked at anew, and it is skipped if that is not so any more.
One that was skipped waits again only if it may still come to run: who is skipped twice is told of once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from jobrunner.errors import CorruptRow
from jobrunner.model import Job, JobState, Parked
from jobrunner.persistence.chains.deciding import may_refer
from jobrunner.persistence.chains.links import SKIPPED_ERROR, Link, ask_links, unmet
from jobrunner.persistence.job_rows import state_of_row
from jobrunner.persistence.ownership.ownership import begin_again
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database

BLOCKED: Mapping[str, Any] = {"state": JobState.BLOCKED.value, "parked": Parked.AFTER.value}
TAKEN = "another job like it waits or runs, and only one of them may"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """What became of members that were to be retried; those that are open or have succeeded are not among them."""

    waiting: list[Job] = field(default_factory=list)
    blocked: list[Job] = field(default_factory=list)
    """They come after others; it is left to following.py to let those go on that need not wait."""
    refused: dict[str, str] = field(default_factory=dict)
    """By job id the reason why it cannot be retried."""

    def add(self, other: Retried) -> None:
        """Take in what became of further members."""
        self.waiting.extend(other.waiting)
        self.blocked.extend(other.blocked)
        self.refused.update(other.refused)


def retry_members(database: Database, job_ids: Sequence[str]) -> Retried:
    """Retry those of the members, given in the order of their posting, that did not succeed; in one transaction.

    One whose unique key another job has taken meanwhile is refused, and the others are retried all the same.
    """
    try:
        return database.pipelined(lambda pipeline: _retry(pipeline, job_ids))
    except IntegrityError:
        if len(job_ids) == 1:
            return Retried(refused={job_ids[0]: TAKEN})
    outcome = Retried()
    for job_id in job_ids:
        outcome.add(retry_members(database, [job_id]))
    return outcome


def _retry(pipeline: Pipeline, job_ids: Sequence[str]) -> Retried:
    rows = {row["id"]: row for row in lock_rows(pipeline, job_ids, LOCKED_JOBS)}
    found = ask_links(pipeline, rows)
    outcome = Retried()
    opened: set[str] = set()
    for row in (rows[job_id] for job_id in job_ids if job_id in rows):
        try:
            job = _again(pipeline, row, _now(found.get(row["id"], ()), opened))
        except CorruptRow as error:
            outcome.refused[row["id"]] = error.message
            continue
        if job is not None:
            opened.add(job.id)
            (outcome.blocked if job.state is JobState.BLOCKED else outcome.waiting).append(job)
    return outcome


def _again(pipeline: Pipeline, row: Mapping[str, Any], links: Sequence[Link]) -> Job | None:
    """The job as it waits again; None if it stays as it is."""
    state = state_of_row(row)
    if not state.is_terminal or state is JobState.SUCCEEDED:
        return None
    was_skipped = state is JobState.CANCELLED and str(row["error"]).startswith(SKIPPED_ERROR)
    if was_skipped and unmet(links) is not None:
        return None
    is_free = all(link.is_met for link in links) and not may_refer(row)
    return begin_again(pipeline, row, {} if is_free else BLOCKED)


def _now(links: Iterable[Link], opened: set[str]) -> list[Link]:
    """The links as they are since some of the jobs were opened again in this transaction."""
    return [replace(link, state=JobState.WAITING) if link.after_id in opened else link for link in links]
