"""Jobsets: post several jobs as one, look at them, wait for them, cancel and retry them as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jobrunner.errors import InvalidParameters, WaitTimedOut
from jobrunner.jobs.change import cancel_all, withdraw
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.envelope import check_line
from jobrunner.jobs.following import settle_blocked
from jobrunner.jobs.pace import Pace
from jobrunner.jobs.post import Posted, check, post_linked, put_on_board
from jobrunner.model import CancelMode, Job, JobState, Posting, new_job_id
from jobrunner.persistence.chains import jobsets
from jobrunner.persistence.chains.jobsets import Jobset
from jobrunner.persistence.chains.retrying_sets import Retried, retry_members
from jobrunner.persistence.store import JobFilter, NewJobset, board_entry
from jobrunner.plugins.holds import check_hold, merged
from jobrunner.policies import Hold
from jobrunner.references import has_references

__all__ = [
    "Jobset", "PostedSet", "RetriedSet", "cancel", "find", "members", "page", "post_set", "retry", "wait",
]  # fmt: skip

MEMBERS_LIMIT = 10_000
MEMBERS_PAGE = 500
RETRIED_AT_ONCE = 200
CANCEL_PASSES = 3
"""Members that are released while others are cancelled are found by the next pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostedSet:
    """The outcome of posting a jobset; its jobs in the order of the postings.

    If idempotency keys found all the jobs of before, it is the set to which the first of them belongs, if to any.
    """

    id: str | None
    new: bool
    posted: list[Posted]


def post_set(
    context: JobContext,
    postings: Sequence[Posting],
    *,
    name: str | None = None,
    author: str | None = None,
    holds: Sequence[Hold] = (),
    sound: bool = False,
) -> PostedSet:
    """Post jobs as one set, all or none, in one transaction.

    A posting may come ``after`` an earlier one by its place in ``postings``, counted from 0, or after a job that exists
    by its id; and its parameters may refer to results of those, see :mod:`jobrunner.references`. Raises what
    ``post_many`` raises, and JobNotFound for a job to come after that is not there.

    :param holds: what the set holds as a whole, from when the first of its jobs begins until the last has ended; for
        each of them it goes before what they themselves would hold of the same name
    :param sound: whether the flows are compiled as well, which is left to the conductor otherwise
    """
    if not 0 < len(postings) <= MEMBERS_LIMIT:
        raise InvalidParameters(f"a jobset has 1 to {MEMBERS_LIMIT:,} jobs, not {len(postings):,}")
    check_line("the jobset's name", name)
    check_line("the author", author)
    jobset = NewJobset(id=new_job_id(), name=name, author=author)
    _check_holds(holds)
    checked = [_of_set(check(context, posting), jobset.id, holds) for posting in postings]
    if sound:
        for posting in checked:
            require_sound(context, posting)
    posted = post_linked(context, checked, jobset)
    if any(one.new for one in posted):
        return PostedSet(id=jobset.id, new=True, posted=posted)
    return PostedSet(id=context.store.get(posted[0].job_id).jobset_id, new=False, posted=posted)


def _check_holds(holds: Sequence[Hold]) -> None:
    try:
        for hold in holds:
            check_hold(hold)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidParameters(f"the jobset cannot hold that: {error}") from None


def _of_set(posting: Posting, set_id: str, holds: Sequence[Hold]) -> Posting:
    by_set = [replace(hold, by_set=True) for hold in holds]
    policies = replace(posting.policies, holds=merged(posting.policies.holds, by_set))
    return replace(posting, jobset_id=set_id, policies=policies if by_set else posting.policies)


def require_sound(context: JobContext, accepted: Posting) -> None:
    """Compile the flow of a checked posting, unless its parameters wait for results; raises InvalidFlow."""
    if not has_references(accepted.parameters):
        job_type = context.registry.get_type(accepted.type)
        job_type.require_sound(accepted.parameters, accepted.factory)


def find(context: JobContext, prefix: str) -> Jobset:
    """The one jobset whose id starts with ``prefix``; raises JobsetNotFound or AmbiguousJobId."""
    return jobsets.find_jobset(context.database, prefix)


def page(
    context: JobContext, *, limit: int = 50, before: int | None = None
) -> tuple[list[Jobset], int | None]:
    """A page of jobsets, newest first, with the mark of the next page."""
    return jobsets.page_of_jobsets(context.database, limit=limit, before=before)


def members(context: JobContext, jobset: Jobset, *, limit: int = MEMBERS_LIMIT) -> list[Job]:
    """The set's jobs in the order of their posting; rows that cannot be read are left out."""
    found: list[Job] = []
    mark: int | None = None
    while True:
        jobs, mark, _ = context.store.page(JobFilter(jobset_id=jobset.id), limit=MEMBERS_PAGE, before=mark)
        found += jobs
        if mark is None:
            return found[::-1][:limit]


def cancel(context: JobContext, jobset: Jobset, mode: CancelMode = CancelMode.REVERT) -> Jobset:
    """Cancel all members that have not ended; the set as it is then. Running ones end at their next atom border.

    Those that wait for others are cancelled first, the last of them before those that they wait for, so that none of
    them is run since another was cancelled.
    """
    blocked = jobsets.open_members(context.database, jobset.id, blocked=True)
    cancel_all(context, blocked[::-1], mode)
    for _ in range(CANCEL_PASSES):
        ids = jobsets.open_members(context.database, jobset.id, uncancelled=True)
        if not ids:
            break
        cancel_all(context, ids, mode)
    return jobsets.get_jobset(context.database, jobset.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetriedSet:
    """A jobset whose unsuccessful members were retried."""

    jobset: Jobset
    """As it is after that."""
    retried: list[str]
    """The ids of the members that run again, or wait for others to do so, in the order of their posting."""
    refused: dict[str, str]
    """By id the members that cannot be retried now, and why."""


def retry(context: JobContext, jobset: Jobset) -> RetriedSet:
    """Run the members again that did not succeed, and those that were skipped because of them; see retrying_sets.py.

    Results of those that succeeded are kept, and given to who comes after them; open members are left as they are. So
    it is safe to repeat, also by several at once, and after a crash in the middle.
    """
    found = jobsets.unsuccessful_members(context.database, jobset.id)
    outcome = Retried()
    for start in range(0, len(found), RETRIED_AT_ONCE):
        some = retry_members(context.database, found[start : start + RETRIED_AT_ONCE])
        outcome.add(some)
        withdraw(context, [job.id for job in (*some.waiting, *some.blocked)])
        put_on_board(context, [board_entry(job) for job in some.waiting])
    blocked = [job.id for job in outcome.blocked]
    settle_blocked(context.database, lambda: context.board, blocked)
    again = {job.id for job in outcome.waiting}.union(blocked)
    return RetriedSet(
        jobset=jobsets.get_jobset(context.database, jobset.id),
        retried=[job_id for job_id in found if job_id in again],
        refused=outcome.refused,
    )


def wait(
    context: JobContext,
    jobset: Jobset,
    *,
    timeout: float | None = None,
    on_change: Callable[[Jobset], None] | None = None,
) -> Jobset:
    """Wait until all members have ended; the set as it is then. One query by index a look, whatever its size.

    :param timeout: seconds; raises WaitTimedOut when they have passed
    :param on_change: called with the set whenever its counts have changed
    """
    pace = Pace(timeout)
    seen = None
    while True:
        found = jobsets.get_jobset(context.database, jobset.id)
        if found.counts != seen:
            seen = found.counts
            pace.quicken()
            if on_change is not None:
                on_change(found)
        if found.ended == found.size:
            return found
        if pace.is_over:
            raise WaitTimedOut(
                f"Jobset {jobset.id} is not finished after {timeout:g} s: "
                f"{found.ended} of {found.size} jobs have ended."
            )
        pace.rest()


def failed_members(context: JobContext, jobset: Jobset, *, limit: int = 10) -> list[Job]:
    """Members that ended badly, newest first: what a person asks for when a set has failed."""
    states = [JobState.FAILED, JobState.REVERTED, JobState.TIMED_OUT, JobState.DEAD, JobState.EXPIRED]
    return context.store.page(JobFilter(jobset_id=jobset.id, states=states), limit=limit)[0]
