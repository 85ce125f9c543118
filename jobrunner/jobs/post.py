"""Posting jobs: validate, commit in SQL, then put on the board.

A job is posted once SQL has it. The board comes after, and if it is away, the reconciler puts the job there later:
posting never fails for the board's sake. Cost: on MariaDB one round trip to the database for a megabyte of jobs (two
more where there are idempotency keys), and one to the board for each two hundred.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobrunner import times
from jobrunner.errors import BoardUnavailable, InvalidParameters
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.envelope import check_after, check_envelope
from jobrunner.jobs.placement import check_placement, placed
from jobrunner.jobs.unique import unique_key
from jobrunner.model import After, BoardEntry, JobClass, JobState, Posting, Priority
from jobrunner.persistence.store import NewJobset
from jobrunner.plugins.holds import merged
from jobrunner.policies import Policies
from jobrunner.references import has_references, references

if TYPE_CHECKING:
    from jobrunner.plugins.registry import JobType

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """The outcome of one posting.

    ``new`` is false if its idempotency key found a job of before, or if its type is unique and such a job is open.
    """

    job_id: str
    new: bool
    on_board: bool
    state: JobState | None = None
    """Of a new job that comes after others: in which state it begins; it may have ended, if those have."""


def post(context: JobContext, posting: Posting) -> Posted:
    """Post one job; raises what :func:`post_many` does, and InvalidFlow, since its flow is compiled as well.

    A flow that was found sound is not compiled again when the same is posted within some seconds: compiling costs more
    than sending, and for other parameters it is done (``JobType.require_sound``).
    """
    accepted = check(context, posting)
    if accepted.after:
        return _post_after(context, accepted)
    context.registry.get_type(posting.type).require_sound(accepted.parameters, accepted.factory)
    return _post(context, [accepted])[0]


def post_many(context: JobContext, postings: Sequence[Posting]) -> list[Posted]:
    """Post jobs, all or none: each is validated first, then all are committed, then they go on the board.

    Whether their flows compile is left to the conductor. Raises UnknownJobType, UnknownCapability,
    InvalidParameters, PostingTooLarge, DuplicateKey, or JobNotFound for a job to come after that is not there, and
    stores nothing then; StoreUnavailable if the database is away.
    """
    checked = [check(context, posting) for posting in postings]
    if any(posting.after for posting in checked):
        return post_linked(context, checked)
    return _post(context, checked)


def _post_after(context: JobContext, accepted: Posting) -> Posted:
    """Its flow is compiled if all of its parameters are there."""
    if not has_references(accepted.parameters):
        context.registry.get_type(accepted.type).require_sound(accepted.parameters, accepted.factory)
    return post_linked(context, [accepted])[0]


def post_linked(
    context: JobContext, checked: Sequence[Posting], jobset: NewJobset | None = None
) -> list[Posted]:
    """Post checked postings of which some come after others, as a jobset if one is given.

    One transaction, of one round trip more than for others.
    """
    now_ms = times.now_ms()
    checked = placed(context, checked, now_ms)
    stored = context.store.insert_linked(checked, now_ms=now_ms, jobset=jobset)
    entries = [
        _entry(one.id, posting, now_ms)
        for one, posting in zip(stored, checked, strict=True)
        if one.new and one.state in (JobState.WAITING, JobState.SCHEDULED)
    ]
    on_board = put_on_board(context, entries)
    return [
        Posted(
            job_id=one.id,
            new=one.new,
            on_board=on_board and one.state in (None, JobState.WAITING, JobState.SCHEDULED),
            state=one.state,
        )
        for one in stored
    ]


def _post(context: JobContext, checked: Sequence[Posting]) -> list[Posted]:
    now_ms = times.now_ms()
    checked = placed(context, checked, now_ms)
    stored = context.store.insert(checked, now_ms=now_ms)
    entries = [
        _entry(job_id, posting, now_ms) for (job_id, new), posting in zip(stored, checked, strict=True) if new
    ]
    on_board = put_on_board(context, entries)
    return [Posted(job_id=job_id, new=new, on_board=on_board) for job_id, new in stored]


def check(context: JobContext, posting: Posting) -> Posting:
    """The posting with its parameters validated and its type's defaults filled in; raises what is wrong with it."""
    posting = _after_results(check_envelope(posting))
    check_placement(posting)
    job_type = context.registry.get_type(posting.type)
    for reference in posting.capabilities:
        context.registry.get_capability(reference)
    accepted = job_type.accept(posting)
    capabilities = tuple(sorted({*job_type.capabilities, *posting.capabilities}))
    timeout = posting.timeout if posting.timeout is not None else job_type.timeout
    policies = _policies(posting, job_type)
    return replace(
        accepted,
        unique_key=unique_key(job_type, accepted),
        capabilities=capabilities,
        timeout=timeout,
        priority=_priority(posting, job_type, policies),
        policies=policies,
    )


def _policies(posting: Posting, job_type: JobType) -> Policies:
    """The posting's own, over those of its type."""
    try:
        policies = posting.policies.over(job_type.policies)
    except ValueError as error:
        raise InvalidParameters(
            f"The limits of this posting do not fit {job_type.name}: {error}.",
            hint="`jobrunner types` tells the job type's own.",
        ) from None
    # A pin is more than its type's preference.
    placement = None if posting.node is not None else policies.placement
    return replace(policies, placement=placement, holds=merged(job_type.holds, posting.policies.holds))


def _priority(posting: Posting, job_type: JobType, policies: Policies) -> Priority:
    """The posting's own; else the highest for what is critical; else the type's."""
    if posting.priority is not None:
        return posting.priority
    if policies.critical:
        return Priority.VERY_HIGH
    return Priority.NORMAL if job_type.priority is None else job_type.priority


def _after_results(posting: Posting) -> Posting:
    """The posting, after all jobs to whose results its parameters refer: on success, unless it says otherwise."""
    named = {one.job for one in posting.after}
    more = dict.fromkeys(
        found.job
        for value in posting.parameters.values()
        for found in references(value)
        if found.job not in named
    )
    if not more:
        return posting
    after = check_after((*posting.after, *(After(job=job) for job in more)))
    return replace(posting, after=after)


def put_on_board(context: JobContext, entries: Sequence[BoardEntry]) -> bool:
    """Put committed jobs on the board; False, with a warning in the log, if that has to wait for the reconciler."""
    if not entries:
        return True
    try:
        context.board.post(entries)
    except BoardUnavailable as error:
        log.warning(
            "%s The jobs are safe in the database and go on the board when it is back.", error.sentence
        )
        return False
    return True


def _entry(job_id: str, posting: Posting, now_ms: int) -> BoardEntry:
    available = posting.available_ms or 0
    return BoardEntry(
        job_id=job_id,
        job_class=JobClass(
            type=posting.type, node=posting.node, capabilities=tuple(sorted(posting.capabilities))
        ),
        priority=Priority.NORMAL if posting.priority is None else posting.priority,
        posted_ms=now_ms,
        available_ms=available if available > now_ms else 0,
    )
