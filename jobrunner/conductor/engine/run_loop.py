"""The loop that runs a compiled flow: TaskFlow's rules of what comes next, without the state machine that it builds.

TaskFlow's engine makes a finite state machine of a dozen closures for each run, which costs more than running a short
task. The rules are the same here, in the same order, of TaskFlow's own parts: its selector says what may run, its
scheduler starts it, its completer takes what came of it and resolves failures (taskflow.engines.action_engine.builder).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from taskflow import states
from taskflow.engines.action_engine import compiler
from taskflow.types.failure import Failure

from jobrunner.conductor.engine.runtime import JobRuntime

log = logging.getLogger(__name__)

_DONE_WITH = (states.SUCCESS, states.EXECUTE)


class RunLoop:
    """One run of a flow.

    :param look: called before each step; it may have the flow suspended
    :param timeout: seconds after which it is called again while atoms run
    """

    def __init__(self, runtime: JobRuntime, *, look: Callable[[], None], timeout: float | None) -> None:
        self._runtime = runtime
        self._storage = runtime.storage
        self._look = look
        self._timeout = timeout
        self._under_way: set[futures.Future[Any]] = set()
        self.failures: list[Failure] = []
        """What failed for good: reverting, or the engine itself."""

    def run(self) -> str:
        """Run until nothing is left that may run; the state in which that leaves the flow."""
        self._look()
        with self._storage.lock.write_lock():
            next_up = {*self._runtime.completer.resume(), *self._next_atoms()}
        while True:
            self._look()
            self._schedule(next_up)
            next_up = self._wait_for_next()
            if not next_up:
                return self._end()

    def _wait_for_next(self) -> set[Any]:
        """The atoms that may run after what has ended; none once nothing is under way any more."""
        while True:
            self._look()
            done = self._wait()
            self._look()
            next_up = self._complete(done)
            if next_up or not self._under_way:
                return next_up
            self._cancel_if_suspending()

    def _schedule(self, atoms: Iterable[Any]) -> None:
        with self._storage.lock.write_lock():
            if self._is_running():
                in_order = sorted(atoms, key=lambda atom: getattr(atom, "priority", 0), reverse=True)
                started, failures = self._runtime.scheduler.schedule(in_order)
                self._under_way |= started
                self.failures += failures
            else:
                self._cancel_if_suspending()

    def _wait(self) -> set[futures.Future[Any]]:
        """The atoms that have ended, at least one of them unless the time is over."""
        done = {future for future in self._under_way if future.done()}
        if self._under_way and not done:
            done = futures.wait(self._under_way, self._timeout, futures.FIRST_COMPLETED).done
        self._under_way -= done
        return done

    def _complete(self, done: Iterable[futures.Future[Any]]) -> set[Any]:
        """Record how atoms ended; those that may run now."""
        next_up: set[Any] = set()
        with self._storage.lock.write_lock():
            for future in done:
                next_up |= self._complete_one(future)
        return next_up if self._is_running() and not self.failures else set()

    def _complete_one(self, future: futures.Future[Any]) -> set[Any]:
        atom = future.atom  # type: ignore[attr-defined]
        try:
            outcome, result = future.result()
            self._runtime.completer.complete(atom, outcome, result)
            if isinstance(result, Failure) and self._runtime.completer.complete_failure(
                atom, outcome, result
            ):
                self.failures.append(result)
            return set() if self.failures else set(self._next_atoms(atom))
        except futures.CancelledError:
            return set()  # it is left as it is
        except Exception:
            self.failures.append(Failure())
            log.exception("what came of the atom %s could not be taken in", atom.name)
            return set()

    def _next_atoms(self, atom: Any = None) -> Iterator[Any]:
        for found, decider in self._runtime.selector.iter_next_atoms(atom=atom):
            if decider.check_and_affect(self._runtime):
                yield found

    def _end(self) -> str:
        if self.failures:
            return str(states.FAILURE)
        with self._storage.lock.read_lock():
            if self._has_succeeded():
                return str(states.SUCCESS)
            if any(True for _ in self._runtime.selector.iter_next_atoms()):
                return str(states.SUSPENDED)
            return str(states.SUCCESS if self._runtime.is_success() else states.REVERTED)

    def _has_succeeded(self) -> bool:
        """Whether every atom has; then none is left, and nothing more need be asked."""
        names = [atom.name for atom in self._runtime.iterate_nodes(compiler.ATOMS)]
        return all(found == _DONE_WITH for found in self._storage.get_atoms_states(names).values())

    def _is_running(self) -> bool:
        return bool(self._storage.get_flow_state() == states.RUNNING)

    def _cancel_if_suspending(self) -> None:
        """What has not begun yet shall not."""
        if self._storage.get_flow_state() == states.SUSPENDING:
            for future in self._under_way:
                future.cancel()
