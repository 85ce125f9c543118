"""Jobs that come after others: what their links say. What becomes of them when those have ended is in deciding.py.

Invariants:

- A job with links is BLOCKED, and parked, until its links are decided; then it goes on, or is skipped, once: under a
  lock on its row, in one transaction, whoever looks and however many at the same time.
- A link to a job that is open when it is made is decided after that job's end was committed: posting locks the rows of
  the jobs that come first, and an end needs the same lock. So no end falls between the look and the link.
- Nobody has to be told of an end for it to count: what nobody followed up on is found by looking at all blocked jobs.

A job is skipped, which is CANCELLED with an error of the kind SKIPPED, as soon as one of its links cannot be met any
more. A job whose parameters cannot be made of the results that they refer to has FAILED.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import WrongState
from jobrunner.model import OPEN_STATES, TERMINAL_STATES, JobError, JobState, Parked, When
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs, links

SKIPPED = "Skipped"
"""The kind of the error of a job that was never run, since another ended otherwise than it should have."""
SKIPPED_ERROR = f'{{"kind":"{SKIPPED}"'
"""How its error begins, as it is stored."""
_STATES = {state.value: state for state in JobState}


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One job comes after another, of which this is what there is to know; ``state`` is None if it was deleted."""

    job_id: str
    after_id: str
    when: When
    state: JobState | None
    type: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state is not None and not self.state.is_terminal

    @property
    def is_met(self) -> bool:
        if self.is_open:
            return False
        return self.when is When.ALWAYS if self.state is None else self.when.holds(self.state)


def unmet(found: Iterable[Link]) -> Link | None:
    """The first link that can never be met."""
    return next((link for link in found if not link.is_open and not link.is_met), None)


def skipped(link: Link) -> JobError:
    """Why a job is not run: how the one ended that it comes after."""
    wanted = {
        When.SUCCESS: "is run only if that one succeeds",
        When.FAILURE: "is run only if that one fails",
    }
    if link.state is None:
        how = f"job {link.after_id[:8]} comes before it, and was deleted"
    else:
        how = f"job {link.after_id[:8]} ({link.type}) ended as {link.state}"
    return JobError(kind=SKIPPED, message=f"It was skipped: {how}, and it {wanted.get(link.when, '')}.")


def dependents(database: Database, job_ids: Collection[str]) -> list[str]:
    """The jobs that come after one of these; one query by index, whether there are any or not."""
    with database.read() as connection:
        return list(connection.execute(_DEPENDENTS, {"job_ids": sorted(job_ids)}).scalars())


_DEPENDENTS = (
    sa.select(links.c.job_id).where(links.c.after_id.in_(sa.bindparam("job_ids", expanding=True))).distinct()
)


def blocked_page(database: Database, *, after: int = 0, limit: int = 500) -> tuple[list[str], int | None]:
    """A page of blocked jobs, oldest first, and the mark of the next one."""
    query = (
        sa.select(jobs.c.id, jobs.c.seq)
        .where(jobs.c.state == JobState.BLOCKED.value, jobs.c.seq > after)
        .order_by(jobs.c.seq)
        .limit(limit)
        .with_hint(jobs, "FORCE INDEX (jobs_state_seq)", "mysql")
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [row.id for row in rows], (rows[-1].seq if len(rows) == limit else None)


def decided(database: Database, job_ids: Sequence[str], *, ended: Collection[str] | None = None) -> list[str]:
    """Those of these jobs that are blocked, and whose links are decided.

    :param ended: the jobs that have ended since somebody looked last, if that is known: then only links to them are
        looked at for one that cannot be met, so that a job after a thousand others is not read a thousand times

    The state is no condition of the query: a database might look for blocked jobs rather than for these.
    """
    other, others = links.alias("other"), jobs.alias("others")
    ahead = sa.exists().where(
        other.c.job_id == jobs.c.id, others.c.id == other.c.after_id, others.c.state.in_(_values(OPEN_STATES))
    )
    query = (
        sa.select(jobs.c.id, jobs.c.state)
        .where(jobs.c.id.in_(list(job_ids)), sa.or_(_contradicted(ended), sa.not_(ahead)))
        .with_hint(jobs, "FORCE INDEX (id)", "mysql")
    )
    with database.read() as connection:
        return [row.id for row in connection.execute(query) if row.state == JobState.BLOCKED.value]


def _contradicted(ended: Collection[str] | None) -> sa.ColumnElement[bool]:
    """Whether a job that comes first ended otherwise than its link asks for, or is gone."""
    link, first = links.alias("link"), jobs.alias("first")
    wrong = [
        sa.and_(
            link.c.condition == when.value,
            sa.or_(
                first.c.state.in_(_values(state for state in TERMINAL_STATES if not when.holds(state))),
                first.c.id.is_(None),
            ),
        )
        for when in (When.SUCCESS, When.FAILURE)
    ]
    found = (
        sa.select(sa.literal(1))
        .select_from(link.outerjoin(first, first.c.id == link.c.after_id))
        .where(link.c.job_id == jobs.c.id, sa.or_(*wrong))
        .correlate(jobs)
    )
    if ended is not None:
        found = found.where(link.c.after_id.in_(sorted(ended)))
    return sa.exists(found)


def _values(states: Iterable[JobState]) -> list[str]:
    return sorted(state.value for state in states)


def links_of(database: Database, job_ids: Sequence[str]) -> dict[str, list[Link]]:
    """The links of these jobs to those that come first."""
    with database.read() as connection:
        rows = connection.execute(_LINKS.where(links.c.job_id.in_(list(job_ids)))).mappings().all()
    return _grouped(rows)


def links_after(database: Database, job_id: str, *, limit: int = 100) -> list[tuple[str, When, str, str]]:
    """The jobs that come after this one: id, condition, type and state of each."""
    query = (
        sa.select(jobs.c.id, links.c.condition, jobs.c.type, jobs.c.state)
        .select_from(links.join(jobs, jobs.c.id == links.c.job_id))
        .where(links.c.after_id == job_id)
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    with database.read() as connection:
        return [(row[0], When(row[1]), row[2], row[3]) for row in connection.execute(query)]


_LINKS = (
    sa.select(links.c.job_id, links.c.after_id, links.c.condition, jobs.c.state, jobs.c.type)
    .select_from(links.outerjoin(jobs, jobs.c.id == links.c.after_id))
    .order_by(links.c.job_id, jobs.c.seq)
)
_LINKS_OF = Statement(
    _LINKS.where(links.c.job_id.in_(sa.bindparam("job_ids", expanding=True))), many="job_ids"
)


def ask_links(pipeline: Pipeline, job_ids: Collection[str]) -> dict[str, list[Link]]:
    """The links of these jobs, within a transaction."""
    return _grouped(pipeline.ask(_LINKS_OF, {"job_ids": sorted(job_ids)}) if job_ids else [])


def _grouped(rows: Iterable[Mapping[Any, Any]]) -> dict[str, list[Link]]:
    found: dict[str, list[Link]] = defaultdict(list)
    for row in rows:
        # A state that nobody knows is some newer version's, or garbage: the job has not ended as far as we can tell.
        state = None if row["state"] is None else _STATES.get(row["state"], JobState.WAITING)
        found[row["job_id"]].append(
            Link(
                job_id=row["job_id"],
                after_id=row["after_id"],
                when=When(row["condition"]),
                state=state,
                type=row["type"],
            )
        )
    return found


def gate(pipeline: Pipeline, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a retried job has to wait for again: jobs that come first and are open; see ``ownership.retry``.

    Raises WrongState if it was never run and one of its links cannot be met.
    """
    found = ask_links(pipeline, [row["id"]]).get(row["id"], ())
    if row["started_ms"] is not None:
        return _WAITS_AGAIN if any(link.is_open for link in found) else {}
    refused = unmet(found)
    if refused is not None:
        raise WrongState(
            f"Job {row['id']} cannot be run: {skipped(refused).message}",
            hint=f"Retry that one first: jobrunner retry {refused.after_id[:8]}",
        )
    return _WAITS_AGAIN if found else {}


_WAITS_AGAIN = {"state": JobState.BLOCKED.value, "parked": Parked.AFTER.value}
