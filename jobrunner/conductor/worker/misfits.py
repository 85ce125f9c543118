"""Half-done jobs that wait for other code: a node that has just come, or loaded its plugins anew, looks for its own.

They wait on the board with a pause that grows, since all that a claim can do is to find that the code is still another.
Who has it new does not wait for the end of that pause: it compares, and claims what fits before its time; nobody else
is offered it meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from jobrunner.conductor.engine.shape import shape_of_flow
from jobrunner.errors import InvalidFlow, JobrunnerError
from jobrunner.model import Job, JobClass
from jobrunner.persistence.flows import META_KEY
from jobrunner.persistence.journal.backend import load_flow
from jobrunner.persistence.ownership.adoption import waiting_for_other_code
from jobrunner.persistence.server.database import Database
from jobrunner.plugins.registry import Registry

log = logging.getLogger(__name__)

AT_ONCE = 200
"""So many, oldest first; more than that are offered again in their time."""


class Misfits:
    """The jobs that waited for the code of this worker.

    :param fits: whether a class's type and node are this worker's
    :param found: called when there is something to take
    """

    def __init__(
        self,
        database: Database,
        registry: Callable[[], Registry],
        *,
        fits: Callable[[JobClass], bool],
        found: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._fits = fits
        self._found = found
        self._ids: deque[str] = deque()

    def look_soon(self) -> None:
        """Look once, in a thread of its own: flows are built for it, by plugins."""
        threading.Thread(target=self._look, name="misfits", daemon=True).start()

    def take(self, limit: int) -> list[str]:
        """Up to ``limit`` jobs that fit here; claim them at once, and early."""
        return [self._ids.popleft() for _ in range(min(limit, len(self._ids)))]

    def _look(self) -> None:
        try:
            types = self._registry().job_types
            jobs = waiting_for_other_code(self._database, list(types), limit=AT_ONCE)
            self._ids.extend(job.id for job in jobs if self._is_mine(job))
        except JobrunnerError as error:
            log.warning(
                "%s Jobs that wait for code of this node start when their pauses end.", error.sentence
            )
        if self._ids:
            self._found()

    def _is_mine(self, job: Job) -> bool:
        """Whether it fits; one that names capabilities is left to be judged with its class."""
        if job.job_class.capabilities or not self._fits(job.job_class):
            return False
        try:
            return self._has_its_code(job)
        except JobrunnerError:
            return False
        except Exception as error:  # noqa: BLE001 - a plugin's code, which its next owner will run into as well
            log.info("whether job %s could go on here was not found out: %r", job.id, error)
            return False

    def _has_its_code(self, job: Job) -> bool:
        with self._database.read() as connection:
            found = load_flow(connection, job.flow_id)
        meta = None if found is None else found[0].meta.get(META_KEY)
        if not isinstance(meta, dict):
            return False
        job_type = self._registry().get_type(job.type)
        flow = job_type.build(job.parameters, job.factory)
        try:
            shape_of_flow(flow).require_same(meta)
        except InvalidFlow:
            return False
        return True
