"""TaskFlow's engine, told when to wait for the journal and when to stop.

Subclasses of TaskFlow's public classes; nothing is patched. What differs from its own engines:

- An atom runs only after the journal's barrier: its RUNNING, and the results before it, are committed.
- What a task returns is encoded and decoded again before anybody sees it, so that a first run and a resumed one see the
  same values; what JSON cannot hold fails the task.
- A task that tries to end the process (``sys.exit``) fails; one that stops since it was asked to keeps its state.
- When the job should stop, no further atom starts; an atom that did not start yet goes back to PENDING.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

from taskflow import states
from taskflow import task as task_atom
from taskflow.atom import Atom
from taskflow.engines.action_engine import compiler
from taskflow.engines.action_engine import engine as action_engine
from taskflow.engines.action_engine import executor as executors
from taskflow.persistence import models
from taskflow.types import failure, notifier
from taskflow.utils import misc

from jobrunner import stopping
from jobrunner.conductor.capture import JobOutput, speaking
from jobrunner.conductor.storage import JobStorage
from jobrunner.errors import JobrunnerError, TaskExited
from jobrunner.persistence.encoding import encode
from jobrunner.persistence.journal.backend import JournalBackend
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.journal.rows import REVERT_LIMIT_BYTES

PARALLEL_LOOK_S = 0.25
"""How often a parallel engine looks for a request to stop while its tasks run."""
_PLAIN = (int, bool, type(None))


class JobEngine(action_engine.ActionEngine):
    """The engine of one owned job.

    :param threads: None runs one atom after the other in the calling thread; a number, so many at once in a pool
    """

    def __init__(
        self,
        flow: Any,
        detail: models.FlowDetail,
        backend: JournalBackend,
        *,
        journal: FlowJournal,
        stop: stopping.StopSignal,
        output: JobOutput,
        threads: int | None = None,
    ) -> None:
        super().__init__(flow, detail, backend, {"gather_statistics": False})
        self._stop = stop
        self._threads = threads
        self._task_executor = JobExecutor(self, journal, stop, output, threads)
        self._retry_executor = RetryExecutor(self, journal, stop, output)
        self.stopped_atoms: set[str] = set()
        self._journal = journal
        self._interrupted = {found.name for found in detail if found.state == states.RUNNING}

    @misc.cachedproperty  # type: ignore[untyped-decorator]
    def storage(self) -> JobStorage:
        """Where the engine keeps what it knows: TaskFlow's storage, less what the journal makes needless."""

        def scopes_of(atom_name: str) -> Any:
            return self._runtime.fetch_scopes_for(atom_name) if self._compiled else None

        return JobStorage(self._flow_detail, self._backend, scopes_of)

    def validate(self) -> None:
        """Check that every atom gets what it needs; once is enough, and TaskFlow asks again at each run."""
        if not self._validated:
            super().validate()

    def run_until_stopped(self) -> None:
        """Run to the end, or to the next atom border after somebody asked to stop; raises what made the flow fail."""
        self._run_while(lambda: not self._stop.is_set())

    def undo(self) -> None:
        """Revert every atom that ran, whatever its outcome; to be run after a stop. Raises if a revert failed.

        It stops at an atom border if the lease is lost or the conductor leaves; undoing again goes on from there.
        """
        self.compile()
        self.prepare()
        self.stopped_atoms.clear()
        for retry in self._runtime.iterate_retries(states.RETRYING):
            # TaskFlow would go on retrying, with everything below it; before that it had succeeded.
            self.storage.set_atom_state(retry.name, states.SUCCESS)
        self._runtime.reset_atoms(
            self._runtime.iterate_nodes(compiler.ATOMS), state=None, intention=states.REVERT
        )
        self._task_executor.undoing = self._retry_executor.undoing = True
        self._run_while(self.may_undo)

    def may_undo(self) -> bool:
        """Whether undoing may go on: the request that made the flow undo itself does not stop it half-way."""
        return self._stop.reason in ("cancel", "timeout") and not self._stop.leaving

    def reverts_everything(self) -> bool:
        """Whether the flow undoes itself already, since an atom failed for good."""
        atoms = list(self._runtime.iterate_nodes(compiler.ATOMS))
        intentions = self.storage.get_atoms_states(atom.name for atom in atoms).values()
        return bool(atoms) and all(intention == states.REVERT for _, intention in intentions)

    def _run_while(self, wanted: Callable[[], bool]) -> None:
        asked = False
        for _ in self.run_iter(timeout=PARALLEL_LOOK_S if self._threads else None):
            if not asked and not wanted():
                asked = True
                self.suspend()

    def atoms_in_order(self) -> list[Any]:
        """The compiled flow's atoms in an order in which they can run."""
        return [
            node for node in self.compilation.execution_graph.topological_sort() if isinstance(node, Atom)
        ]

    def not_started(self, atom: Any) -> None:
        """An atom was about to start when the job was asked to stop: it did not.

        A retry stays RUNNING: what it is about to do stands in its intention, and PENDING would lose that. So does a
        task that a former owner had started: it may have done something, and must be reverted if the job is undone.
        """
        self.stopped_atoms.add(atom.name)
        if not isinstance(atom, task_atom.Task) or atom.name in self._interrupted:
            return
        if self.storage.get_atom_state(atom.name) == states.RUNNING:
            self.storage.set_atom_state(atom.name, states.PENDING)

    def note_restart(self, atom: Any) -> None:
        """An atom that was RUNNING when its owner died starts again: to TaskFlow that is no change of state."""
        if atom.name in self._interrupted:
            self._interrupted.discard(atom.name)
            recorded = self._flow_detail.find(self.storage.get_atom_uuid(atom.name))
            self.storage.update_atom_metadata(atom.name, self._journal.start_stamp(recorded.meta or {}))

    def _change_state(self, state: str) -> None:
        # An atom that stopped early is still RUNNING; TaskFlow then finds nothing left to do and nothing successful,
        # and calls the flow reverted. It is suspended.
        if self.stopped_atoms and state in (states.REVERTED, states.SUCCESS):
            state = states.SUSPENDED
        super()._change_state(state)


class _Runner:
    """How atoms are run: shared by the executors of tasks and of retries."""

    def __init__(
        self, engine: JobEngine, journal: FlowJournal, stop: stopping.StopSignal, output: JobOutput
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._stop = stop
        self._output = output
        self.undoing = False

    def run(self, atom: Any, outcome: str, call: Callable[[], Any]) -> tuple[str, Any]:
        """Run one atom's execute or revert; its result or failure.

        Raises CancelledError if it did not start, or stopped early: TaskFlow then leaves the atom as it is.
        """
        if self._stop.is_set() and not (self.undoing and self._engine.may_undo()):
            self._engine.not_started(atom)
            raise futures.CancelledError
        if outcome == executors.EXECUTED:
            self._engine.note_restart(atom)
        try:
            self._journal.barrier()
        except JobrunnerError:
            self._stop.set("lost")
            self._engine.stopped_atoms.add(atom.name)
            raise futures.CancelledError from None
        with speaking(self._output, atom.name):
            token = stopping.bind(None if self.undoing else self._stop)
            try:
                return outcome, _stored_form(call(), outcome, atom.name, self._journal.result_limit)
            except stopping.Stopped as error:
                if not self._stop.is_set():
                    return outcome, _failure_of(error)
                self._engine.stopped_atoms.add(atom.name)
                raise futures.CancelledError from None
            except Exception as error:  # noqa: BLE001 - the edge of a task: whatever it raises is its failure
                return outcome, _failure_of(error)
            except BaseException as error:  # noqa: BLE001 - the same for what would end the process
                return outcome, _failure_of_exit(atom.name, error)
            finally:
                stopping.unbind(token)


def _stored_form(value: Any, outcome: str, name: str, limit: int) -> Any:
    """``value`` as it will be read back from the store; raises NotStorable."""
    if type(value) in _PLAIN:
        return value
    if outcome == executors.REVERTED:
        return json.loads(
            encode(value, what=f"What the revert of the atom {name} returned", limit=REVERT_LIMIT_BYTES)
        )
    return json.loads(encode(value, what=f"What the atom {name} returned", limit=limit))


def _failure_of(error: Exception) -> failure.Failure:
    """A failure whose causes TaskFlow can hold: not the ``SystemExit`` that a task turned into an error of its own."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        cause = link.__cause__ if link.__suppress_context__ else link.__cause__ or link.__context__
        if cause is not None and not isinstance(cause, Exception):
            link.__cause__ = TaskExited(_in_words(cause))
            break
        link = cause
    return failure.Failure(exc_info=(type(error), error, error.__traceback__))


def _failure_of_exit(name: str, error: BaseException) -> failure.Failure:
    """A failure with the traceback of what would have ended the process, which TaskFlow itself could not hold."""
    found = TaskExited(f"The atom {name} tried to end the process by {_in_words(error)}.")
    return failure.Failure(exc_info=(TaskExited, found, error.__traceback__))


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class JobExecutor(_Runner, executors.TaskExecutor):
    """Runs tasks: in the engine's own thread, or in a pool of the job's."""

    def __init__(
        self,
        engine: JobEngine,
        journal: FlowJournal,
        stop: stopping.StopSignal,
        output: JobOutput,
        threads: int | None,
    ) -> None:
        super().__init__(engine, journal, stop, output)
        self._threads = threads
        self._pool: futures.ThreadPoolExecutor | None = None

    def start(self) -> None:
        if self._threads:
            self._pool = futures.ThreadPoolExecutor(self._threads, thread_name_prefix="atom")

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def execute_task(
        self, task: Any, task_uuid: str, arguments: Mapping[str, Any], progress_callback: Any = None
    ) -> futures.Future[Any]:
        def call() -> Any:
            with _progress(task, progress_callback):
                try:
                    task.pre_execute()
                    return task.execute(**arguments)
                finally:
                    task.post_execute()

        return self._submit(task, executors.EXECUTED, call)

    def revert_task(
        self,
        task: Any,
        task_uuid: str,
        arguments: Mapping[str, Any],
        result: Any,
        failures: Any,
        progress_callback: Any = None,
    ) -> futures.Future[Any]:
        given = {**arguments, task_atom.REVERT_RESULT: result, task_atom.REVERT_FLOW_FAILURES: failures}

        def call() -> Any:
            with _progress(task, progress_callback):
                try:
                    task.pre_revert()
                    return task.revert(**given)
                finally:
                    task.post_revert()

        return self._submit(task, executors.REVERTED, call)

    def _submit(self, task: Any, outcome: str, call: Callable[[], Any]) -> futures.Future[Any]:
        if self._pool is not None:
            return self._in_pool(self._pool, task, lambda: self.run(task, outcome, call))
        return _now(task, lambda: self.run(task, outcome, call))

    def _in_pool(
        self, pool: futures.ThreadPoolExecutor, task: Any, work: Callable[[], Any]
    ) -> futures.Future[Any]:
        started = threading.Event()

        def run() -> Any:
            started.set()
            return work()

        def ended(future: futures.Future[Any]) -> None:
            if future.cancelled() and not started.is_set():  # TaskFlow did that, since the job should stop
                self._engine.not_started(task)

        future: futures.Future[Any] = pool.submit(run)
        future.atom = task  # type: ignore[attr-defined]
        future.add_done_callback(ended)
        return future


class RetryExecutor(_Runner, executors.SerialRetryExecutor):
    """Runs retries, always in the engine's own thread."""

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""

    def execute_retry(self, retry: Any, arguments: Mapping[str, Any]) -> futures.Future[Any]:
        def call() -> Any:
            return retry.execute(**arguments)

        return _now(retry, lambda: self.run(retry, executors.EXECUTED, call))

    def revert_retry(self, retry: Any, arguments: Mapping[str, Any]) -> futures.Future[Any]:
        def call() -> Any:
            return retry.revert(**arguments)

        return _now(retry, lambda: self.run(retry, executors.REVERTED, call))


def _progress(task: Any, callback: Any) -> Any:
    return notifier.register_deregister(task.notifier, task_atom.EVENT_UPDATE_PROGRESS, callback=callback)


def _now(atom: Any, work: Callable[[], Any]) -> futures.Future[Any]:
    """A future that is done, cancelled or failed already."""
    future: futures.Future[Any] = futures.Future()
    future.atom = atom  # type: ignore[attr-defined]
    try:
        result = work()
    except futures.CancelledError:
        future.cancel()
        future.set_running_or_notify_cancel()
    else:
        future.set_result(result)
    return future
