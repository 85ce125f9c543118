"""How a job's atoms are run: in the engine's own thread, or in a pool of the job's.

What TaskFlow's own executors do not do: wait for the journal before an atom runs, keep what it says with its job, tell
it when to stop, hold its result to what JSON can, and survive whatever it raises.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import TYPE_CHECKING, Any

from taskflow import retry as retry_atom
from taskflow import task as task_atom
from taskflow.engines.action_engine import executor as executors
from taskflow.types import failure, notifier

from jobrunner import membership, stopping, waits
from jobrunner.conductor.engine.capture import JobOutput, speaking
from jobrunner.conductor.engine.strays import in_this_process
from jobrunner.conductor.engine.waits import AtomWaits
from jobrunner.conductor.turns.baton import Baton
from jobrunner.errors import JobrunnerError, TaskExited
from jobrunner.persistence.encoding import encode
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.journal.rows import REVERT_LIMIT_BYTES

if TYPE_CHECKING:
    from jobrunner.conductor.engine.engine import JobEngine

_PLAIN = (bool, type(None))
PLAIN_BITS = 64
"""Whole numbers up to here are what they will be read back as; Python writes down none of more than 4,300 digits."""


class Runner:
    """How atoms are run: shared by the executors of tasks and of retries."""

    def __init__(
        self,
        engine: JobEngine,
        journal: FlowJournal,
        stop: stopping.StopSignal,
        output: JobOutput,
        baton: Baton,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._stop = stop
        self._output = output
        self._baton = baton
        self.undoing = False
        self.members: membership.Reader | None = None
        """Reads the members of the job's set, for tasks that ask for them."""

    def run(self, atom: Any, outcome: str, call: Callable[[], Any]) -> tuple[str, Any]:
        """Run one atom's execute or revert; its result or failure.

        Raises CancelledError if it did not start, or stopped early: TaskFlow then leaves the atom as it is.
        """
        if self._stop.is_set() and not (self.undoing and self._engine.may_undo()):
            self._engine.not_started(atom)
            raise futures.CancelledError
        if outcome == executors.EXECUTED:
            self._engine.note_restart(atom)
        with self._baton.passed():
            return self._run(atom, outcome, call)

    def ask(self, question: Callable[[], Any]) -> Any:
        """What code of the flow's author says that is no atom's execute or revert.

        Raises what that raises; TaskExited for what would end the process, or this thread.
        """
        with self._baton.lent():
            try:
                return question()
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - the same as for a task, which is not to end the process
                words = (
                    f"What decides, or listens, in the flow tried to end the process by {_in_words(error)}."
                )
                raise TaskExited(words).with_traceback(error.__traceback__) from None

    def _run(self, atom: Any, outcome: str, call: Callable[[], Any]) -> tuple[str, Any]:
        try:
            self._journal.barrier()
        except JobrunnerError:
            self._stop.set("lost")
        if self._stop.overdue():
            # The machine stood still, and nobody has noticed yet; or the commit took so long.
            self._stop.set("lost")
        if self._stop.reason == "lost":
            self._engine.stopped_atoms.add(atom.name)
            raise futures.CancelledError
        with speaking(self._output, atom.name):
            token = stopping.bind(None if self.undoing else self._stop)
            waiting = waits.bind(self._waits_of(atom, outcome))
            asked = None if self.members is None else membership.bind(self.members)
            try:
                with self._baton.core.left():
                    value = in_this_process(call)
                return outcome, _stored_form(value, outcome, atom.name, self._journal.result_limit)
            except stopping.Stopped as error:
                if not self._stop.is_set():
                    return outcome, _failure_of(error)
                self._engine.stopped_atoms.add(atom.name)
                raise futures.CancelledError from None
            except waits.Waiting as wait:
                self._engine.note_wait(atom, wait)
                raise futures.CancelledError from None
            except Exception as error:  # noqa: BLE001 - the edge of a task: whatever it raises is its failure
                if self._stop.interrupts() and not self.undoing:
                    self._engine.stopped_atoms.add(atom.name)
                    raise futures.CancelledError from None
                return outcome, _failure_of(error)
            except BaseException as error:  # noqa: BLE001 - the same for what would end the process
                return outcome, _failure_of_exit(atom.name, error)
            finally:
                waits.unbind(waiting)
                stopping.unbind(token)
                if asked is not None:
                    membership.unbind(asked)

    def _waits_of(self, atom: Any, outcome: str) -> AtomWaits | None:
        """What lets a task wait without holding a worker; neither a retry can, nor what undoes something."""
        if outcome != executors.EXECUTED or isinstance(self, RetryExecutor):
            return None
        return AtomWaits(self._engine, atom.name)


def _stored_form(value: Any, outcome: str, name: str, limit: int) -> Any:
    """``value`` as it will be read back from the store; raises NotStorable."""
    if type(value) in _PLAIN or (type(value) is int and value.bit_length() <= PLAIN_BITS):
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
    try:
        return failure.Failure(exc_info=(type(error), error, error.__traceback__))
    except Exception:  # noqa: BLE001 - the exception is a task's own, and so is the code that makes its text
        words = f"{type(error).__name__}, which cannot say what it is about: making its text failed"
        return failure.Failure(exc_info=(RuntimeError, RuntimeError(words), error.__traceback__))


def _failure_of_exit(name: str, error: BaseException) -> failure.Failure:
    """A failure with the traceback of what would have ended the process, which TaskFlow itself could not hold."""
    found = TaskExited(f"The atom {name} tried to end the process by {_in_words(error)}.")
    return failure.Failure(exc_info=(TaskExited, found, error.__traceback__))


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class JobExecutor(Runner, executors.TaskExecutor):
    """Runs tasks: in the engine's own thread, or in a pool of the job's."""

    def __init__(
        self,
        engine: JobEngine,
        journal: FlowJournal,
        stop: stopping.StopSignal,
        output: JobOutput,
        baton: Baton,
        threads: int | None,
    ) -> None:
        super().__init__(engine, journal, stop, output, baton)
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
        failures = self._engine.failures()
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


class RetryExecutor(Runner, executors.SerialRetryExecutor):
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
        given = {**arguments, retry_atom.REVERT_FLOW_FAILURES: self._engine.failures()}

        def call() -> Any:
            return retry.revert(**given)

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
