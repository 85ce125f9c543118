"""Posting jobs that come after others: rows, links and the jobset in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobrunner.errors import InvalidParameters, JobNotFound
from jobrunner.model import After, JobError, JobState, Parked, Posting
from jobrunner.persistence.chains.deciding import ended_by, may_refer, referred, released
from jobrunner.persistence.chains.links import Link, skipped, unmet
from jobrunner.persistence.encoding import clip
from jobrunner.persistence.job_rows import POSTED_COLUMNS, event_row, posted_event, state_of_row
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, encode_error
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.posting.tagging import insert_tags
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.tables import jobs, jobsets, links
from jobrunner.references import Reference, replaced

INSERT_BATCH = 500
SHOWN_IDS = 5

_MORE_COLUMNS = ("parked", "note", "error", "finished_ms", "from_results")
_INSERT_JOBS = Statement(jobs.insert(), columns=(*POSTED_COLUMNS, *_MORE_COLUMNS))
_INSERT_LINKS = Statement(links.insert(), columns=("job_id", "after_id", "condition"))
_INSERT_JOBSET = Statement(jobsets.insert(), columns=("id", "name", "author", "created_ms"))


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJobset:
    """A jobset to be made with its jobs."""

    id: str
    name: str | None = None
    author: str | None = None


def by_ids(posting: Posting, ids: Sequence[str], place: int) -> Posting:
    """The posting with ids where it names others by their place among those that are posted together.

    Raises InvalidParameters for a place that is not before its own, so that no job comes after itself.
    """

    def id_of(job: str | int) -> str:
        if isinstance(job, str):
            return job
        if not 0 <= job < place:
            raise InvalidParameters(
                f"posting number {place} cannot come after number {job}: it has to be one before it",
                hint="postings are counted from 0",
            )
        return ids[job]

    after = tuple(dict.fromkeys(replace(one, job=id_of(one.job)) for one in posting.after))
    return replace(
        posting,
        after=_one_for_each_job(after),
        parameters=replaced(
            posting.parameters, lambda found: Reference(id_of(found.job), found.path).to_json()
        )
        if posting.after
        else posting.parameters,
    )


def _one_for_each_job(after: Sequence[After]) -> tuple[After, ...]:
    known: dict[str | int, After] = {}
    for one in after:
        other = known.setdefault(one.job, one)
        if other.when is not one.when:
            raise InvalidParameters(
                f"a job cannot come after job {one.job} on {other.when} and on {one.when}",
                hint="use always for a job that is to run in either case",
            )
    return tuple(known.values())


def insert_linked(
    pipeline: Pipeline,
    rows: Sequence[Mapping[str, Any]],
    after: Mapping[str, Sequence[After]],
    jobset: NewJobset | None,
    now_ms: int,
) -> dict[str, JobState]:
    """Insert new jobs in their order, with what they come after, by job id; the states in which they begin.

    The rows of jobs that exist already and that one of them comes after are locked, so that none ends between this
    look at it and the link. Raises JobNotFound for one that does not exist.
    """
    new = {row["id"] for row in rows}
    named = {str(one.job) for job_id in new for one in after.get(job_id, ())}
    known: dict[str, Mapping[str, Any]] = {
        row["id"]: row for row in lock_rows(pipeline, sorted(named - new), LOCKED_JOBS)
    }
    for missing in sorted(named - new - set(known)):
        raise JobNotFound(
            f"There is no job {missing} for another to come after.",
            hint="`jobrunner list` shows the jobs there are.",
        )
    made = []
    for row in rows:
        made.append(_begun(row, after.get(row["id"], ()), known, now_ms))
        known[row["id"]] = made[-1]
    _insert(pipeline, made, after, jobset, now_ms)
    return {row["id"]: JobState(row["state"]) for row in made}


def _begun(
    row: Mapping[str, Any], after: Sequence[After], known: Mapping[str, Mapping[str, Any]], now_ms: int
) -> dict[str, Any]:
    """A job's first row: blocked, or what its links make of it if all that come first have ended."""
    first = [_link(row["id"], one, known[str(one.job)]) for one in after]
    begun = {**row, **dict.fromkeys(_MORE_COLUMNS)}
    refused = unmet(first)
    if refused is not None:
        return begun | _ended(skipped(refused), now_ms)
    waited_for = [link for link in first if link.is_open]
    if waited_for:
        return begun | {
            "state": JobState.BLOCKED.value,
            "parked": Parked.AFTER.value,
            "note": _note(waited_for),
        }
    if not first or not may_refer(row):
        return begun
    try:
        return begun | released(
            row, {job_id: known[job_id] for job_id in referred([row]) if job_id in known}, now_ms
        )
    except InvalidParameters as error:
        return begun | _ended(JobError(kind="ResultMissing", message=error.message), now_ms)


def _link(job_id: str, after: After, first: Mapping[str, Any]) -> Link:
    return Link(
        job_id=job_id, after_id=first["id"], when=after.when, state=state_of_row(first), type=first["type"]
    )


def _note(first: Sequence[Link]) -> str:
    ids = ", ".join(link.after_id[:8] for link in first[:SHOWN_IDS])
    more = f" and {len(first) - SHOWN_IDS:,} more" if len(first) > SHOWN_IDS else ""
    return clip(f"Waiting for the end of {'job' if len(first) == 1 else 'jobs'} {ids}{more}.")


def _ended(error: JobError, now_ms: int) -> dict[str, Any]:
    return {
        "state": ended_by(error).state.value,
        "error": encode_error(error),
        "finished_ms": now_ms,
        "unique_key": None,
    }


def _insert(
    pipeline: Pipeline,
    rows: Sequence[dict[str, Any]],
    after: Mapping[str, Sequence[After]],
    jobset: NewJobset | None,
    now_ms: int,
) -> None:
    if jobset is not None:
        said = {"id": jobset.id, "name": jobset.name, "author": jobset.author, "created_ms": now_ms}
        pipeline.add(_INSERT_JOBSET, [said])
    for start in range(0, len(rows), INSERT_BATCH):
        batch = rows[start : start + INSERT_BATCH]
        pipeline.add(_INSERT_JOBS, batch)
        pipeline.add(INSERT_EVENTS, [event for row in batch for event in _events(row, now_ms)])
        insert_tags(pipeline, batch)
    made = [
        {"job_id": row["id"], "after_id": one.job, "condition": one.when.value}
        for row in rows
        for one in after.get(row["id"], ())
    ]
    for start in range(0, len(made), INSERT_BATCH):
        pipeline.add(_INSERT_LINKS, made[start : start + INSERT_BATCH])


def _events(row: Mapping[str, Any], now_ms: int) -> list[dict[str, Any]]:
    posted = [posted_event(row)]
    if row["finished_ms"] is None:
        return posted
    return [*posted, event_row(row["id"], row["state"].lower(), at_ms=now_ms)]
