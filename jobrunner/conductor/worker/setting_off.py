"""What becomes of jobs that were claimed: they are begun together, and set off one by one.

Most run here (running.py); suspects, and those that ask for it, are left to processes of their own (own_processes.py).
Those that have ended, must not begin yet or cannot be read go back; what fails at one of them harms no other.

Costs of n jobs: one transaction that raises n epochs. One that is left to a process of its own is begun there.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.run import RETRY_ELSEWHERE_S, not_settled
from jobrunner.conductor.worker.ended import EndedJobs
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.conductor.worker.own_processes import OwnProcesses
from jobrunner.conductor.worker.passing_on import PassingOn
from jobrunner.conductor.worker.running import Running
from jobrunner.model import Job, Parked
from jobrunner.persistence.ownership.beginning import Begun, TagLimits, begin
from jobrunner.persistence.server.link import Link

log = logging.getLogger(__name__)

NOT_BEGUN_S = 1.0
"""A job that could not be begun, or still ends here, is offered again after this time."""
CORRUPT_S = 60.0
"""A job whose row cannot be read is offered again after this time: somebody may have mended it."""
SUSPECT_DEATHS = 2
"""A job with which so many owners died runs in a process of its own, so that it takes no others with it."""
NOBODY = "00000000-0000-0000-0000-000000000000"
"""No job has this id."""


class SettingOff:
    """Begins what one worker claimed.

    :param owner: the identity that claimed
    :param alone: whether this is a process of a job's own, which leaves none to others
    """

    def __init__(
        self,
        link: Link,
        *,
        owner: str,
        node: str,
        alone: bool,
        channel: Channel,
        held: HeldJobs,
        ended: EndedJobs,
        passing: PassingOn,
        running: Running,
        own_processes: OwnProcesses,
    ) -> None:
        self._link = link
        self._tags = TagLimits()
        self._owner = owner
        self._node = node
        self._alone = alone
        self._channel = channel
        self._held = held
        self._ended = ended
        self._passing = passing
        self._running = running
        self._own_processes = own_processes

    def rehearse(self) -> None:
        """Begin nothing: the statements are made, connected and cached then; raises StoreUnavailable."""
        begin(self._link, [NOBODY], owner=self._owner, node=self._node, tags=self._tags)

    def start(self, ids: list[str], until: float) -> bool:
        """Raise the epochs of claimed jobs and run those that are to be run.

        Where a machine stood still until the leases had ended none is begun: that would take them from who has them by
        now. Whether all of them were begun, and nothing is left to be done before others are waited for.

        :param until: when their leases end at the earliest, by boottime
        """
        claimed, ids = ids, self._not_held(ids, until)
        if not ids:
            return False
        if boottime() > until:
            log.warning(
                "%d claims had ended before their jobs could be begun; others may have them", len(ids)
            )
            self._ended.goes_back(ids, delay=0.0)
            return False
        self._held.claimed(ids, until)
        self._channel.send("claimed", ids=ids)
        begun = self._begin(ids)
        self._give_back(begun)
        self._set_all_off(begun)
        return len(begun.started) == len(claimed) and not (len(self._ended) or self._passing)

    def _not_held(self, ids: list[str], until: float) -> list[str]:
        """Those of the claimed jobs that do not run here already: the board may have lost what it knew of a claim.

        One that runs goes on under its epoch. One whose lease was lost ends first: two runs of a job in one process
        would get in each other's way. One that is over is begun like any other; but what has ended here is done with on
        the board first: what is told of the last run would give up the claim of the next one.
        """
        found_here = {job_id: self._held.get(job_id) for job_id in ids}
        held = {
            job_id: None if found is None or found.over else found for job_id, found in found_here.items()
        }
        untold = self._ended.untold()  # asked after that: a job is noted there before it is held no more
        self._held.kept([job_id for job_id, found in held.items() if found is not None], until)
        ending = [
            job_id
            for job_id, found in held.items()
            if (found is not None and found.stop.reason == "lost") or self._held.is_apart(job_id)
        ]
        self._ended.goes_back(ending, delay=NOT_BEGUN_S)
        return [
            job_id for job_id in ids if held[job_id] is None and job_id not in ending and job_id not in untold
        ]

    def _begin(self, ids: list[str]) -> Begun:
        try:
            return begin(
                self._link,
                ids,
                owner=self._owner,
                node=self._node,
                tags=self._tags,
                threads_only=not self._alone,
            )
        except BaseException:
            self._held.not_begun(ids)
            self._ended.goes_back(ids, delay=NOT_BEGUN_S)
            raise

    def _give_back(self, begun: Begun) -> None:
        """Those that are not to run now: the board hears of them, and whoever may wait for them."""
        gone = [*begun.finished, *begun.parked, *begun.unknown]
        look_again = functools.partial(self._look_again, begun.parked_jobs)
        self._ended.finished(gone, then=look_again if begun.parked_jobs else None)
        self._ended.goes_back(begun.corrupt, delay=CORRUPT_S)
        for job_id, seconds in begun.early.items():
            self._ended.goes_back([job_id], delay=seconds)
        for refused in begun.refused:
            self._ended.goes_back([refused.job.id], delay=refused.delay)
            # Once the board has it again: what ended meanwhile saw nobody waiting.
            self._passing.note(refused.job, left=False)
        not_now = [*begun.corrupt, *begun.early, *(refused.job.id for refused in begun.refused)]
        self._held.not_begun([*gone, *not_now])
        for job in begun.set_aside:
            self._running.note_left(job)
        if begun.corrupt:
            log.error("the rows of these jobs cannot be read: %s", ", ".join(begun.corrupt))

    def _look_again(self, parked: Sequence[Job]) -> None:
        for job in parked:
            self._running.look_again(job, job.parked or Parked.HELD)

    def _set_all_off(self, begun: Begun) -> None:
        suspects = [job for job in begun.started if job.deaths >= SUSPECT_DEATHS and not self._alone]
        for job in begun.started:
            self._passing.note_begun(job)
        for job in begun.started:
            if job not in suspects:
                self._set_off(job, lambda job: self._running.run(job, fresh=job.id in begun.fresh))
        for job in suspects:
            self._set_off(job, self._own_processes.isolate)
        for job in begun.apart:
            self._set_off(job, self._own_processes.leave)

    def _set_off(self, job: Job, start: Callable[[Job], None]) -> None:
        """Start a job that was claimed; what fails harms no other that was claimed with it."""
        try:
            start(job)
        except Exception as error:  # noqa: BLE001 - the edge of a job
            self._could_not_set_off(job, error)

    def _could_not_set_off(self, job: Job, error: Exception) -> None:
        held = self._held.get(job.id)
        if held is not None:
            self._held.remove(held)
        self._held.not_begun([job.id])
        self._held.back(job.id)
        if job.owner == self._owner:  # it was begun
            left = not_settled(self._link.database, job, error)
            if left.finished:
                self._ended.finished([job.id])
            else:
                self._ended.job_goes_back(job, delay=left.delay)
        else:
            log.error("job %s could not be left to a process of its own", job.id, exc_info=error)
            self._ended.goes_back([job.id], delay=RETRY_ELSEWHERE_S)
