"""Running jobs in the test's own process, as a worker does but without board and supervisor; and tasks that tell.

``Note("a", calls)`` appends ``a`` to ``calls`` when it is executed and ``-a`` when it is reverted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from taskflow.task import Task

from jobrunner.conductor.run import Outcome, RunParts, run_job
from jobrunner.conductor.turns.baton import Baton
from jobrunner.conductor.worker.leases import Held
from jobrunner.model import AtomRecord, CancelMode, Job, JobState, Posting
from jobrunner.persistence import flows
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.ownership import beginning, ownership
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.plugins.registry import JobType, Registry
from jobrunner.stopping import StopSignal

Calls = list[str]


class Runs:
    """A store, a journal, and job types made of the test's own flow factories."""

    def __init__(self, url: str, *, output_limit: int = 10 * 1024 * 1024) -> None:
        self.database = Database(url)
        upgrade(self.database)
        self.store = Store(self.database)
        self.registry = Registry()
        self.baton = Baton()
        self._output_limit = output_limit
        self._owners = 0
        self.start()

    def start(self) -> None:
        """Start the journal, as a new worker would."""
        self.writer = Writer(self.database, patience=20.0)
        self.writer.start()

    def close(self) -> None:
        self.writer.stop()
        self.database.close()

    def post(
        self,
        factory: Callable[..., Any],
        *,
        engine: str = "serial",
        timeout: float | None = None,
        **parameters: Any,
    ) -> str:
        """Post a job of a new type with this factory; its id."""
        name = f"type{len(self.registry.job_types)}"
        self.register(name, factory, engine=engine)
        posting = Posting(type=name, parameters=parameters, timeout=timeout)
        return self.store.insert([posting], now_ms=time.time_ns() // 1_000_000)[0][0]

    def register(self, name: str, factory: Callable[..., Any], *, engine: str = "serial") -> None:
        """Register a job type; one of that name is replaced, as by a reload of changed code."""
        fresh = Registry()
        for job_type in self.registry.job_types.values():
            if job_type.name != name:
                fresh.add_type(job_type)
        fresh.add_type(
            JobType(
                name=name, factory=factory, module=__name__, package=__name__, source="test", engine=engine
            )
        )
        self.registry = fresh

    def begin(self, job_id: str) -> tuple[Job, bool]:
        """Own the job as a new owner; the job, and whether it is its attempt's first one."""
        self._owners += 1
        owner = f"node:{self._owners}:test"
        begun = beginning.begin(self.database, [job_id], owner=owner, node="node")
        assert [job.id for job in begun.started] == [job_id], f"not started: {begun}"
        return begun.started[0], job_id in begun.fresh

    def run(self, job_id: str, stop: StopSignal | None = None) -> Job:
        """Own and run the job until it ends or stops; the job as it is then."""
        job, fresh = self.begin(job_id)
        self.run_owned(job, stop or self.held(job).stop, fresh=fresh)
        return self.store.get(job_id)

    def run_owned(self, job: Job, stop: StopSignal, *, fresh: bool) -> Outcome:
        parts = RunParts(
            writer=self.writer,
            registry=lambda: self.registry,
            owner=job.owner or "",
            node="node",
            output_limit=self._output_limit,
            baton=self.baton,
        )
        return run_job(parts, job, stop, fresh=fresh)

    @staticmethod
    def held(job: Job) -> Held:
        """The job as a worker holds it."""
        return Held(job=job, until=float("inf"))

    def cancel(self, job_id: str, mode: CancelMode = CancelMode.REVERT) -> JobState:
        return ownership.request_cancel(self.database, job_id, mode)[0]

    def atoms(self, job_id: str) -> dict[str, AtomRecord]:
        """The recorded atoms by name."""
        found = flows.atoms_of(self.database, [self.store.get(job_id)])[job_id]
        return {atom.name: atom for atom in found}

    def states(self, job_id: str) -> dict[str, str]:
        """The recorded states of the atoms by name."""
        return {name: atom.state for name, atom in self.atoms(job_id).items()}

    def flow_state(self, job_id: str) -> str | None:
        return flows.flow_state(self.database, job_id, self.store.get(job_id).attempt)


class Note(Task):  # type: ignore[misc] # TaskFlow has no types
    """Tells when it is executed and reverted.

    :param does: called when it is executed; what it returns is the result
    :param undoes: called when it is reverted
    """

    def __init__(
        self,
        name: str,
        calls: Calls,
        *,
        does: Callable[[], Any] | None = None,
        undoes: Callable[[], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._calls, self._does, self._undoes = calls, does, undoes

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(self.name)
        return self._does() if self._does is not None else self.name.upper()

    def revert(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(f"-{self.name}")
        return self._undoes() if self._undoes is not None else None


def raises(error: BaseException) -> Callable[[], Any]:
    """Something for ``Note`` to do: raise this."""

    def do() -> Any:
        raise error

    return do
