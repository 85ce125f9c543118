"""What has to hold after every step, and what a history has to tell in the end."""

from __future__ import annotations

from collections.abc import Sequence

from jobrunner.model import Job, JobState
from jobrunner.persistence.chains.links import SKIPPED
from tests.conformance.model.expected import UNITS
from tests.conformance.model.expected_system import Expected
from tests.conformance.model.hands import Differs, same
from tests.conformance.model.world import World

COMPARED = (
    "type",
    "state",
    "epoch",
    "attempt",
    "owner",
    "deaths",
    "cancel",
    "available_ms",
    "held",
    "parked",
    "parked_before",
    "awaits",
    "result",
    "parameters",
    "from_results",
    "jobset_id",
)


def check_store(world: World, expected: Expected, owners: Sequence[str]) -> None:
    """The jobs' rows, what is recorded of their flows, and what these owners are asked to cancel."""
    found = world.jobs()
    same("the jobs in the store", found.keys(), expected.jobs.keys())
    for job_id, job in found.items():
        for name in COMPARED:
            same(f"{name} of {job_id}", getattr(job, name), getattr(expected.jobs[job_id], name))
        same(f"whether {job_id} was skipped", was_skipped(job), expected.jobs[job_id].skipped)
    same(
        "who comes after whom",
        world.links(),
        {job_id: job.after for job_id, job in expected.jobs.items() if job.after},
    )
    atoms = {job_id: job.atoms for job_id, job in expected.jobs.items()}
    same("what is recorded", world.atoms(found.values()), atoms)
    untaken = {job_id: job.signals for job_id, job in expected.jobs.items() if job.signals}
    same("the signals that nobody took", world.untaken(), untaken)
    same("who holds the semaphore", world.holders(), expected.holders)
    if len(expected.holders) > UNITS:
        raise Differs(f"{len(expected.holders)} hold the semaphore, of {UNITS}")
    if any(job.cancel for job in found.values()):
        same("asked to be cancelled", world.cancel_requests(owners), expected.cancel_requests(owners))


def was_skipped(job: Job) -> bool:
    return job.error is not None and job.error.kind == SKIPPED


def check_board(world: World, expected: Expected) -> None:
    """Which jobs are there, the living claims, and how many are delayed."""
    board = expected.board
    rows, mark = world.board.list(limit=100)
    same("the list's mark", mark, None)
    same("the jobs on the board", {row.entry.job_id for row in rows}, set(board.standing))
    claims = {row.entry.job_id: (row.owner, row.lease_until_ms) for row in rows if row.owner is not None}
    same("the claims", claims, board.claims())
    count = world.board.count()
    delayed = sum(not found.free(board.now_ms) for found in board.standing.values()) - len(claims)
    same("the delayed", count.delayed, delayed)
    same("the others", count.waiting + count.claimed, len(board.standing) - delayed)


def check_histories(world: World) -> None:
    """Of jobs that have all ended: their epochs never fell, and each attempt ended once, having been let go once at
    most by those that come first.
    """
    terminal = {"retrying", *(state.value.lower() for state in JobState if state.is_terminal)}
    for job_id, job in world.jobs().items():
        history = world.context.store.history(job_id)
        epochs = [event["epoch"] for event in history]
        same(f"the order of epochs of {job_id}", epochs, sorted(epochs))
        ends = [event["attempt"] for event in history if event["kind"] in terminal]
        same(f"the ends of {job_id}", ends, list(range(1, job.attempt + 1)))
        freed = [event["attempt"] for event in history if event["kind"] == "unblocked"]
        same(f"the attempts in which {job_id} was let go", freed, sorted(set(freed)))
