"""Jobs that a worker claims and leaves to processes of their own: suspects, and those that ask for it.

The supervisor sees to the process, which takes the claim over (own_job.py); until that is over a job that asked for it
has a slot here. Costs such a job a message there and one back; a suspect also the commit that hands it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from jobrunner.conductor.channel import Channel, Message
from jobrunner.conductor.isolation.accounts import account_for
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.run import RETRY_ELSEWHERE_S
from jobrunner.conductor.worker.ended import EndedJobs
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.errors import NotAllowedHere, StoreUnavailable
from jobrunner.model import Job, JobState
from jobrunner.persistence.ownership.ownership import hand_back
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.ownership.unowned import note_waiting
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

NOT_HANDED_BACK_S = 1.0
"""A suspect that could not be handed back is offered again after this time."""


class OwnProcesses:
    """What one worker leaves to other processes, and hears of it.

    :param run_as: the users as whom jobs may run here
    :param note_left: called with a job that nobody has followed up on
    :param wake: called when there is something to tell the board, or room again
    """

    def __init__(
        self,
        database: Database,
        *,
        channel: Channel,
        held: HeldJobs,
        ended: EndedJobs,
        outage: Outage,
        pool: Executor,
        run_as: Sequence[str],
        note_left: Callable[[Job], bool],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._channel = channel
        self._held = held
        self._ended = ended
        self._outage = outage
        self._pool = pool
        self._run_as = run_as
        self._note_left = note_left
        self._wake = wake
        self._suspects: set[str] = set()

    @property
    def suspects(self) -> int:
        """How many suspects were left to processes of their own that are not over; they take no slots."""
        return len(self._suspects)

    def leave(self, job: Job) -> None:
        """Have the supervisor see to a process for a job that was not begun; its claim is passed on there."""
        limits = job.policies.run
        assert limits is not None
        try:
            if limits.user is not None:
                account_for(limits.user, limits.group, allowed=self._run_as)
        except NotAllowedHere as error:
            self._held.not_begun([job.id])
            self._say_why_not(job, error.message)
            return
        self._held.goes_apart(job)
        self._channel.send("isolate", id=job.id, limits=limits.to_json(), timeout=job.timeout)

    def isolate(self, job: Job) -> None:
        """Leave a job that was begun, a suspect, to a process of its own, which takes it over from here."""
        self._suspects.add(job.id)
        self._held.not_begun([job.id])
        note = f"It runs in a process of its own, since {job.deaths} processes that ran it died."
        try:
            suspended = Settlement(state=JobState.SUSPENDED, note=note)
            hand_back(self._database, job, suspended, keeps_permits=True)
        except Exception:
            log.exception("job %s could not be left to a process of its own, so it goes back", job.id)
            self._ended.goes_back([job.id], delay=NOT_HANDED_BACK_S)
            self._suspects.discard(job.id)
            return
        log.warning("job %s: %s", job.id, note)
        self._channel.send("isolate", id=job.id, limits=None, timeout=job.timeout)

    def returned(self, message: Message) -> None:
        """A job's own process did not come to take it over."""
        job = self._held.back(message["id"])
        if job is not None and message["why"] is not None:
            # The thread that listens to the supervisor waits for no server.
            self._pool.submit(self._say_why_not, job, message["why"])
        else:
            self._ended.goes_back([message["id"]], delay=message["delay"])
        self._suspects.discard(message["id"])
        self._wake()

    def left(self, message: Message) -> None:
        """A job's own process is over; if it was ended by force, nobody has followed up on it yet."""
        job = self._held.back(message["id"])
        if job is not None and message["by_force"]:
            self._note_left(job)
        self._suspects.discard(message["id"])
        self._wake()

    def _say_why_not(self, job: Job, why: str) -> None:
        """A job goes back that this node cannot run; it says so while it waits for another."""
        log.warning("job %s is not for this node: %s", job.id, why)
        try:
            note_waiting(self._database, [job.id], f"Waiting for a node that may run it. {why}")
        except StoreUnavailable as error:
            self._outage.goes_on(error)
        self._ended.goes_back([job.id], delay=RETRY_ELSEWHERE_S)
        self._wake()
