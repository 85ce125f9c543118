"""Jobs that are run again from their start by themselves, by conductors that may die, on boards that may be lost."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from jobrunner import retries
from jobrunner.jobs import look
from jobrunner.model import JobState
from jobrunner.persistence.store import board_entry
from jobrunner.policies import Policies, RetryPolicy
from tests.support.conductors import Cluster


def retried(times: int, *, pause: float = 0.2, **settings: object) -> dict[str, object]:
    """A posting whose job is retried so often, after pauses that are all alike."""
    retry = RetryPolicy(attempts=times + 1, delay=pause, factor=1, jitter=0)
    return {"policies": Policies(retry=replace(retry, **settings))}  # type: ignore[arg-type]


def starts(cluster: Cluster, job_id: str, atom: str = "good") -> list[float]:
    return [line.at for line in cluster.evidence(job=job_id, atom=atom, what="start")]


def attempts(cluster: Cluster, job_id: str) -> list[tuple[int, JobState]]:
    found = look.attempts(cluster.context, cluster.job(job_id))
    return [(one.attempt, one.state) for one in found]


def in_its_pause(cluster: Cluster, job_id: str, attempt: int = 2) -> None:
    """Return when the job waits for this attempt."""
    cluster.until(
        lambda: cluster.job(job_id).attempt == attempt and cluster.job(job_id).state is JobState.SCHEDULED,
        f"{job_id} waits for its attempt {attempt}",
    )


def test_a_job_is_run_again_until_it_succeeds(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("unsteady", fails=2, posting=retried(3))
    (job,) = look.wait(anywhere.context, [job_id], timeout=30)
    assert (job.state, job.attempt, job.error, job.note) == (JobState.SUCCEEDED, 3, None, None)
    assert attempts(anywhere, job_id) == [(1, JobState.REVERTED), (2, JobState.REVERTED)]
    assert anywhere.ends(job_id) == ["succeeded"]
    began = starts(anywhere, job_id)
    assert len(began) == 3
    assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(began))
    assert len(anywhere.evidence(job=job_id, atom="good", what="revert")) == 2
    first = look.at_attempt(anywhere.context, job, 1)
    assert (first.state, first.error and first.error.message) == (JobState.REVERTED, "shaky fails")
    found = {atom.name: atom.state for atom in look.atoms(anywhere.context, [first])[job_id]}
    assert found == {"good": "REVERTED", "shaky": "REVERTED"}
    said = "".join(piece.text for piece in look.read_output(anywhere.context, job, attempt=1))
    assert said == f"good of {job_id}\nshaky of {job_id}\n"


def test_a_job_ends_when_its_attempts_are_used_up_and_a_critical_one_has_four(both: Cluster) -> None:
    both.start()
    plain = both.post("failing", posting=retried(1))
    often = both.post(
        "failing", posting=retried(0) | {"policies": Policies(critical=True, retry=retries(1, delay=0))}
    )
    never = both.post("failing", posting=retried(5, on=(JobState.TIMED_OUT,)))
    jobs = both.ended(plain, often, never)
    assert [(job.state, job.attempt) for job in jobs] == [(JobState.REVERTED, n) for n in (2, 4, 1)]
    assert [len(both.ends(job.id)) for job in jobs] == [1, 1, 1]
    assert [len(starts(both, job.id)) for job in jobs] == [2, 4, 1]


def test_a_conductor_that_dies_in_an_attempt_costs_no_attempt(anywhere: Cluster) -> None:
    alice = anywhere.start("alice")
    job_id = anywhere.post("unsteady", fails=1, gate=anywhere.gate(), posting=retried(1))
    anywhere.started("shaky", job=job_id, times=2)
    alice.kill_all()
    anywhere.start("bob")
    anywhere.started("shaky", job=job_id, times=3)
    anywhere.open(anywhere.gate())
    anywhere.succeeded(job_id)
    assert (anywhere.job(job_id).attempt, attempts(anywhere, job_id)) == (2, [(1, JobState.REVERTED)])
    assert anywhere.owner_changes(job_id) == ["alice", "alice", "bob"]
    assert len(starts(anywhere, job_id)) == 2  # bob went on where alice had stopped
    assert anywhere.ends(job_id) == ["succeeded"]


def test_a_board_that_is_lost_in_the_pause_neither_loses_nor_hastens_the_next_attempt(both: Cluster) -> None:
    both.start()
    job_id = both.post("unsteady", fails=1, posting=retried(1, pause=4))
    in_its_pause(both, job_id)
    both.context.board.clear()
    both.succeeded(job_id)
    first, second = starts(both, job_id)
    assert 4 < second - first < 10
    assert attempts(both, job_id) == [(1, JobState.REVERTED)]


def test_a_board_that_forgot_the_pause_does_not_shorten_it(both: Cluster) -> None:
    """As when the owner dies between SQL's commit and its word to the board."""
    both.start()
    job_id = both.post("unsteady", fails=1, posting=retried(1, pause=4))
    in_its_pause(both, job_id)
    entry = replace(board_entry(both.job(job_id)), available_ms=0)
    both.until(lambda: both.context.board.count().delayed, "the board has it")
    both.context.board.withdraw([job_id])
    both.context.board.post([entry])
    both.until(lambda: both.context.board.count().delayed, "whoever claimed it has given it back")
    both.succeeded(job_id)
    first, second = starts(both, job_id)
    assert 4 < second - first < 8
    assert both.owner_changes(job_id) == ["alice", "alice"]


def test_a_conductor_that_dies_in_the_pause_leaves_the_job_to_the_next(both: Cluster) -> None:
    alice = both.start("alice")
    job_id = both.post("unsteady", fails=1, posting=retried(1, pause=2))
    in_its_pause(both, job_id)
    alice.kill_all()
    both.start("bob")
    both.succeeded(job_id)
    assert both.owner_changes(job_id) == ["alice", "bob"]
    assert attempts(both, job_id) == [(1, JobState.REVERTED)]


def test_a_job_that_is_cancelled_in_its_pause_is_not_run_again(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("failing", posting=retried(3, pause=1))
    in_its_pause(embedded, job_id)
    assert embedded.cancel(job_id) is JobState.CANCELLED
    embedded.until(lambda: not embedded.context.board.known([job_id]), "it is taken off the board")
    assert (len(starts(embedded, job_id)), embedded.ends(job_id)) == (1, ["cancelled"])


def test_a_person_who_cancels_wants_no_retry(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), heed=True, posting=retried(3, pause=0))
    embedded.started("step2", job=job_id)
    embedded.cancel(job_id)
    (job,) = embedded.ended(job_id)
    assert (job.state, job.attempt) == (JobState.CANCELLED, 1)


def test_a_job_that_takes_too_long_is_run_again(embedded: Cluster) -> None:
    embedded.start()
    posting = {**retried(1, pause=0, on=(JobState.TIMED_OUT,)), "timeout": 0.5}
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), heed=True, posting=posting)
    (job,) = embedded.ended(job_id)
    assert (job.state, job.attempt) == (JobState.TIMED_OUT, 2)
    assert attempts(embedded, job_id) == [(1, JobState.TIMED_OUT)]


def test_a_job_that_kills_its_owners_is_not_retried_by_itself(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("deadly", posting=retried(9, pause=0))
    (job,) = embedded.ended(job_id, within=60)
    assert (job.state, job.attempt, job.error and job.error.kind) == (JobState.FAILED, 1, "OwnersDied")


def test_many_that_fail_are_all_run_again_while_conductors_die(networked: Cluster) -> None:
    began = time.monotonic()
    alice = networked.start("alice")
    networked.start("bob")
    ids = networked.post_many("unsteady", count=60, fails=1, posting=retried(2, pause=0.05))
    networked.until(lambda: len(networked.evidence(atom="shaky")) > 40, "some have failed")
    alice.kill_all()
    networked.start("carol")
    networked.succeeded(*ids, within=60)
    for job_id in ids:
        found = attempts(networked, job_id)
        assert [number for number, _ in found] == list(range(1, len(found) + 1))
        assert networked.job(job_id).attempt == len(found) + 1 <= 3
        assert networked.ends(job_id) == ["succeeded"]
    assert time.monotonic() - began < 60
