"""What a supervisor does for jobs in processes of their own: gives them these, has them watched, and sees them off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jobrunner.conductor.channel import Message
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.isolation.accounts import Account, account_for
from jobrunner.conductor.isolation.usage import Usage
from jobrunner.conductor.isolation.usage_notes import UsageNotes
from jobrunner.conductor.isolation.watch import Watch, Watched, usage_of
from jobrunner.conductor.supervisor.dead_workers import DeadWorkers
from jobrunner.conductor.supervisor.keeper import Claims
from jobrunner.conductor.supervisor.lone import LoneJobs, spares
from jobrunner.conductor.supervisor.process import LoneJob, WorkerProcess, how_it_ended
from jobrunner.config import Config
from jobrunner.errors import NotAllowedHere
from jobrunner.persistence.ownership.unowned import UsageNote

log = logging.getLogger(__name__)

NOT_TAKEN_S = 1.0
"""A job that no process came for is offered again after so long."""


class Apart:
    """The jobs of one conductor in processes of their own. For the thread that supervises, but for ``figures`` and
    ``usage``.

    :param slots: how many such jobs may run at the same time
    :param spares: how many processes wait for such jobs while some come
    :param workers: all processes of the conductor that live
    :param start: starts one that is alone; raises OSError
    :param tell: sends a message to the worker of an owner: ``tell(owner, kind, **content)``
    :param kill: sends a signal to the session of an owner's process
    """

    def __init__(
        self,
        config: Config,
        dead: DeadWorkers,
        usage: UsageNotes,
        claims: Claims,
        *,
        slots: int,
        spares: int,
        workers: Callable[[], list[WorkerProcess]],
        start: Callable[[Account | None], WorkerProcess],
        tell: Callable[..., None],
        kill: Callable[[str, int], None],
    ) -> None:
        self._run_as = config.conductor.run_as
        self._dead = dead
        self._usage = usage
        self._claims = claims
        self._jobs = LoneJobs(slots, spares=spares)
        self._workers = workers
        self._start = start
        self._tell = tell
        self.watch = Watch(kill, self._fence)
        self.ended_here = 0
        """How many such jobs' processes have ended."""

    def start(self) -> None:
        """Start the watch."""
        self.watch.start()

    def stop(self) -> None:
        """End the watch. Stopping twice is fine."""
        self.watch.stop()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: LoneJob) -> None:
        """A job wants a process of its own; it gets it as soon as there is room."""
        self._jobs.add(job, boottime())

    def clear(self) -> None:
        """Nobody gets a process any more."""
        self._jobs.clear()

    def start_due(self, *, leaving: bool) -> None:
        """Give jobs their own processes, as far as there is room for them, and see to the spares."""
        now = boottime()
        if leaving:
            for job in self._jobs.clear():
                self.give_back(job)
            return
        while (next_job := self._jobs.next(self._workers(), now)) is not None:
            try:
                self._give_process(next_job)
            except OSError as error:
                log.error("no process of its own could be started for job %s: %s", next_job.job_id, error)
                self.give_back(next_job)
        self._see_to_spares(now)

    def _give_process(self, job: LoneJob) -> None:
        if any(worker.lone and worker.lone.job_id == job.job_id for worker in self._workers()):
            self.give_back(job)  # the board had lost its claim; the keeper claims it again
            return
        waiting = spares(self._workers())
        if job.limits is None or job.limits.user is None:
            self._give(job, waiting[0] if waiting else self._start(None))
            return
        try:
            account = account_for(job.limits.user, job.limits.group, allowed=self._run_as)
        except NotAllowedHere as error:
            self.give_back(job, why=error.message)
        else:
            self._give(job, self._start(account))

    def _give(self, job: LoneJob, worker: WorkerProcess) -> None:
        self._claims.pass_on(job.job_id)
        worker.give(job)

    def _see_to_spares(self, now: float) -> None:
        missing = self._jobs.spares_missing(self._workers(), now)
        try:
            for _ in range(missing):
                self._start(None)
        except OSError as error:
            log.warning("no spare process could be started: %s", error)
            self._jobs.spare_failed(now)
        for spare in spares(self._workers())[: max(0, -missing)]:
            spare.dismissed = True
            spare.channel.send("stop")

    def spare_failed(self) -> None:
        """A spare could not be forked, or ended before it was ready."""
        self._jobs.spare_failed(boottime())

    def give_back(self, job: LoneJob, *, why: str | None = None) -> None:
        """Nobody takes a job over: whoever claimed it hands it back."""
        self._claims.passed_on(job.job_id, job.holder)
        self._tell(job.holder, "returned", id=job.job_id, delay=NOT_TAKEN_S, why=why)

    def began(self, worker: WorkerProcess, message: Message) -> None:
        """A process has begun its own job."""
        job = worker.lone
        if job is None or job.limits is None:
            return
        deadline = None if job.timeout is None else boottime() + job.timeout - message["age"]
        self.watch.add(
            Watched(
                owner=worker.owner,
                job_id=job.job_id,
                guardian=message["guardian"],
                epoch=message["epoch"],
                attempt=message["attempt"],
                limits=job.limits,
                deadline=deadline,
                heeded=message["undoes"],
                usage=Usage.after(message["used"]),
            )
        )

    def _fence(self, watched: Watched) -> None:
        if watched.verdict is not None:
            self._dead.settle(watched.owner, watched.job_id, watched.verdict)

    def ended(self, worker: WorkerProcess, job: LoneJob, code: int) -> Callable[[], None]:
        """A job's own process has ended, somehow: whoever claimed the job learns of it, and its slot is free.

        What is returned tells so where that is not done by then, to be called when what the process held was handed
        back: who only drains the board would else find nothing there, and end.
        """
        self._claims.passed_on(job.job_id, job.holder)
        if not worker.taken:
            why = f"Its process ended before it could begin ({how_it_ended(code)}); see the conductor's log."
            self.give_back(job, why=why if code and job.limits is not None else None)
            return _nothing
        self.ended_here += 1
        watched = self.watch.remove(worker.owner)
        if watched is not None:
            watched.usage.end(cpu=worker.cpu, peak=worker.peak)
            note = _usage_note(watched, ended=True)
            # Who died with a job is followed by another owner, or attempt, whose figures go on from these.
            (self._usage.ended if code == 0 else self._dead.usage)(note)
        verdict = None if watched is None or code == 0 else watched.verdict
        if verdict is None or worker.ended_on_purpose:
            return lambda: self._tell(job.holder, "left", id=job.job_id, by_force=False)
        worker.ended_on_purpose = True
        self._dead.settle(
            worker.owner,
            job.job_id,
            verdict,
            then=lambda: self._tell(job.holder, "left", id=job.job_id, by_force=True),
        )
        return _nothing

    def usage(self) -> list[UsageNote]:
        """What the jobs that run have used so far."""
        return [_usage_note(watched) for watched in self.watch.all()]

    def figures(self) -> dict[str, Any]:
        """How many such jobs run, and what they use together, as :class:`Figures` has it."""
        watched = self.watch.all()
        return {
            "isolated": len(watched),
            "isolated_percent": round(sum(one.usage.percent for one in watched), 1),
            "isolated_memory": sum(one.usage.memory for one in watched),
        }


def _nothing() -> None:
    """All is said."""


def _usage_note(watched: Watched, *, ended: bool = False) -> UsageNote:
    return UsageNote(
        job_id=watched.job_id,
        attempt=watched.attempt,
        owner=watched.owner,
        usage=usage_of(watched, ended=ended),
    )
