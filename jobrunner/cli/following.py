"""Reading a job's output, once or until its end, with its gaps told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jobrunner.cli.waiting import outlast
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.model import AtomRecord, Job
from jobrunner.persistence.output import OutputChunk

POLL_S = 0.2


@dataclass
class Gaps:
    """Finds what was left out of a bounded output: positions that do not go on where the last chunk ended."""

    _ends: dict[tuple[int, int], int] = field(default_factory=dict)

    def before(self, chunk: OutputChunk) -> int:
        """How many bytes are missing between the chunk and the one before it, in its attempt and epoch."""
        key = (chunk.attempt, chunk.epoch)
        missing = max(0, chunk.position - self._ends.get(key, 0))
        self._ends[key] = max(self._ends.get(key, 0), chunk.position + chunk.size)
        return missing


class Follower:
    """Looks at a job again and again, and hands on what is new: chunks of output, and atoms that changed."""

    def __init__(
        self,
        context: JobContext,
        job_id: str,
        *,
        on_chunk: Callable[[OutputChunk], None],
        on_atom: Callable[[AtomRecord], None] | None = None,
        attempt: int | None = None,
    ) -> None:
        self._context = context
        self._job_id = job_id
        self._on_chunk = on_chunk
        self._on_atom = on_atom
        self._attempt = attempt
        self._after = 0
        self._states: dict[tuple[int, str], tuple[str, int]] = {}

    def run(self) -> Job:
        """Go on until the job has ended; the job as it ended. An outage of the database costs time only."""
        while True:
            job = outlast(self._context, self.look)
            if job.state.is_terminal:
                return job
            time.sleep(POLL_S)

    def look(self) -> Job:
        """Hand on what is new; the job as it was before that, so that after its end nothing is missed."""
        job = self._context.store.get(self._job_id)
        for chunk in look.read_output(self._context, job, after=self._after, attempt=self._attempt):
            self._after = chunk.seq
            self._on_chunk(chunk)
        if self._on_atom is not None:
            for atom in self._changed(job):
                self._on_atom(atom)
        return job

    def _changed(self, job: Job) -> Iterator[AtomRecord]:
        for atom in look.atoms(self._context, [job])[job.id]:
            key, state = (job.attempt, atom.name), (atom.state, atom.starts)
            if self._states.get(key, ("PENDING", 0)) != state:
                self._states[key] = state
                yield atom
