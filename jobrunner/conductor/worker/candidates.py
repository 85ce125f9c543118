"""Jobs that ask for capabilities: looked at before they are claimed, and never in the way of others.

A scout goes through the classes of jobs that name capabilities, evaluates the predicates on the candidates in threads
of its own, and hands over those that this node may run. It looks only while the worker has room, so that what it finds
out is fresh when it is acted on. A declined job is not looked at again for a moment, and says why it waits. A slow
predicate holds up the jobs that name it, no others.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent import futures

from jobrunner.boards.board import Board
from jobrunner.conductor.outage import Outage
from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.model import Job, JobClass
from jobrunner.persistence.ownership.unowned import note_waiting
from jobrunner.persistence.store import Store
from jobrunner.plugins.capabilities import Evaluator
from jobrunner.plugins.registry import Registry

log = logging.getLogger(__name__)

DECLINED_S = 5.0
"""A declined job is not looked at again for so long, at least."""
DECLINED_EACH_S = 0.05
"""And for so long times the number of declined jobs, so that thousands of them do not keep the predicates busy."""
FRESH_S = 2.0
"""So long an approval holds; a job that was not claimed by then is looked at again."""
PAGE = 50
PAGES = 20
"""So far down a line a look goes past jobs that were declined a moment ago."""
AT_ONCE = 2
"""Jobs of one class that are judged at the same time: a slow predicate takes no more threads than this."""
THREADS = 32
IDLE_S = 2.0
"""Between looks that nobody asked for; posting makes the worker ask."""
NONE_S = 10.0
"""The same while no job on the board names a capability."""
BUSY_S = 0.1
GLANCE_S = 1.0
"""A worker that has enough to do makes the scout look as often as this for classes that nobody knows yet."""
AWAY_S = 2.0
LEAVE_S = 1.0
"""For so long a look that is under way is waited for when the worker leaves."""


class Scout:
    """Finds candidates for one worker.

    :param fits: whether a class's type and node are this worker's
    :param room: how many jobs the worker could start now
    :param wake: called when there is something to claim
    :param timeout: seconds after which a predicate counts as declining
    """

    def __init__(
        self,
        board: Board,
        store: Store,
        registry: Callable[[], Registry],
        *,
        fits: Callable[[JobClass], bool],
        room: Callable[[], int],
        wake: Callable[[], None],
        timeout: float,
    ) -> None:
        self._board = board
        self._store = store
        self._registry = registry
        self._fits = fits
        self._room = room
        self._wake = wake
        self._timeout = timeout
        self._lock = threading.Lock()
        self._judged: tuple[Registry, Evaluator] | None = None
        self._declined: dict[str, float] = {}
        self._under_way: dict[str, JobClass] = {}
        self._approved: deque[tuple[str, float]] = deque()
        self._classes: frozenset[JobClass] = frozenset()
        self._nothing_left = False
        self._looked_at = 0.0
        self._outage = Outage(log, "looking for jobs with capabilities")
        self._pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="capability")
        self._stopping = threading.Event()
        self._look_now = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a predicate that hangs is left behind, and so is a server that does not answer at once."""
        self._stopping.set()
        self._look_now.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def classes(self) -> frozenset[JobClass]:
        """The classes with capabilities that are on the board and fit this worker."""
        return self._classes

    def look(self) -> None:
        """Look now: something was posted, or there is room again."""
        self._nothing_left = False
        self._look_now.set()

    def glance(self) -> None:
        """Look now if there is somewhere to look, or no look for a while: there may be room again."""
        if self._classes or time.monotonic() - self._looked_at > GLANCE_S:
            self.look()

    def nothing_left(self) -> bool:
        """Whether the last look found nothing that could still be run here; for draining."""
        return self._nothing_left

    def take_approved(self, limit: int, *, aged: float = 0.0) -> list[str]:
        """Up to ``limit`` jobs that this node may run by what was found out a moment ago; claim them at once.

        :param aged: seconds for which they have been left to other nodes since then
        """
        taken: list[str] = []
        now = time.monotonic()
        with self._lock:
            while self._approved and len(taken) < limit:
                job_id, until = self._approved[0]
                if until - FRESH_S + aged > now:
                    break
                self._approved.popleft()
                if until > now:
                    taken.append(job_id)
        return taken

    def until_approved(self, aged: float) -> float:
        """Seconds until ``take_approved`` has the next one; no end if nothing is approved."""
        with self._lock:
            if not self._approved:
                return math.inf
            return max(0.0, self._approved[0][1] - FRESH_S + aged - time.monotonic())

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._look_now.wait(pause)
            self._look_now.clear()
            if self._stopping.is_set():
                return
            try:
                pause = BUSY_S if self._find() else self._idle_s()
                self._outage.is_over()
            except (BoardUnavailable, StoreUnavailable) as error:
                self._outage.goes_on(error)
                pause = AWAY_S
            except Exception:
                if self._stopping.is_set():  # and what it looks with is closed by now
                    return
                log.exception("looking for jobs with capabilities failed; it goes on")
                pause = AWAY_S

    def _idle_s(self) -> float:
        return IDLE_S if self._classes or not self._nothing_left else NONE_S

    def _find(self) -> bool:
        """Look at each class once; whether there is reason to look again soon."""
        self._looked_at = time.monotonic()
        self._classes = frozenset(
            cls for cls in self._board.classes() if cls.capabilities and self._fits(cls)
        )
        self._forget_old()
        room = self._room() - len(self._approved)
        seen = False
        for cls in sorted(self._classes, key=lambda cls: cls.key) if room > 0 else ():
            seen |= self._find_in(cls, room)
        with self._lock:
            self._nothing_left = not (seen or self._under_way or self._approved or room <= 0)
        return seen

    def _find_in(self, cls: JobClass, room: int) -> bool:
        with self._lock:
            limit = min(AT_ONCE, room) - Counter(self._under_way.values())[cls]
        if limit <= 0:
            return False
        fresh = self._unseen(cls, limit)
        jobs = self._store.get_many(fresh)
        for job_id in fresh:
            if job_id in jobs:
                with self._lock:
                    self._under_way[job_id] = cls
                self._pool.submit(self._judge, jobs[job_id])
        return bool(jobs)

    def _forget_old(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._declined = {job_id: until for job_id, until in self._declined.items() if until > now}
            self._approved = deque((job_id, until) for job_id, until in self._approved if until > now)

    def _unseen(self, cls: JobClass, limit: int) -> list[str]:
        """Candidates that were not looked at a moment ago, past those that were."""
        for page in range(PAGES):
            ids = self._board.peek([cls], limit=PAGE, skip=page * PAGE)
            with self._lock:
                seen = {*self._declined, *self._under_way, *(job_id for job_id, _ in self._approved)}
            fresh = [job_id for job_id in ids if job_id not in seen]
            if fresh or len(ids) < PAGE:
                return fresh[:limit]
        return []

    def _judge(self, job: Job) -> None:
        verdict = self._evaluator().satisfies(job.job_class.capabilities, job.view)
        with self._lock:
            self._under_way.pop(job.id, None)
            if verdict.ok:
                self._approved.append((job.id, time.monotonic() + FRESH_S))
            else:
                pause = max(DECLINED_S, DECLINED_EACH_S * len(self._declined))
                self._declined[job.id] = time.monotonic() + pause
        if verdict.ok:
            self._wake()
        else:
            self._say_why(job, verdict.reason)
        self._look_now.set()

    def _say_why(self, job: Job, reason: str) -> None:
        if job.note is not None:
            return
        log.info("job %s is not for this node now: %s", job.id, reason)
        try:
            note_waiting(self._store.database, [job.id], f"Waiting for a node that may run it. {reason}.")
        except StoreUnavailable as error:
            self._outage.goes_on(error)

    def _evaluator(self) -> Evaluator:
        """One for as long as the plugins stay the same: it knows which predicates have not answered yet."""
        registry = self._registry()
        with self._lock:
            if self._judged is None or self._judged[0] is not registry:
                self._judged = (registry, Evaluator(registry, timeout=self._timeout))
            return self._judged[1]
