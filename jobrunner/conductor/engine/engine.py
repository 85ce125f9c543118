"""TaskFlow's engine, told when to wait for the journal and when to stop.

Subclasses of TaskFlow's public classes; nothing is patched. What differs from its own engines:

- An atom runs only after the journal's barrier: its RUNNING, and the results before it, are committed.
- What a task returns is encoded and decoded again before anybody sees it, so that a first run and a resumed one see the
  same values; what JSON cannot hold fails the task.
- A task that tries to end the process (``sys.exit``) fails; one that stops since it was asked to keeps its state.
- What comes next is found by TaskFlow's rules, in a loop instead of a state machine (run_loop.py); see compiler.py,
  runtime.py and storage.py for what else is lighter.
- When the job should stop, no further atom starts; an atom that did not start yet goes back to PENDING.
- A task that has to wait for the outside world ends, and stays RUNNING; what does not need it goes on. When nothing is
  left that can go on, the flow is suspended.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taskflow import states
from taskflow import task as task_atom
from taskflow.atom import Atom
from taskflow.engines.action_engine import compiler
from taskflow.engines.action_engine import engine as action_engine
from taskflow.persistence import models
from taskflow.types.failure import Failure

from jobrunner import membership, stopping
from jobrunner.conductor.engine.capture import JobOutput
from jobrunner.conductor.engine.compiler import JobCompiler
from jobrunner.conductor.engine.executors import JobExecutor, RetryExecutor
from jobrunner.conductor.engine.run_loop import RunLoop
from jobrunner.conductor.engine.runtime import JobRuntime
from jobrunner.conductor.engine.storage import JobStorage
from jobrunner.conductor.engine.waits import JobWaits
from jobrunner.conductor.turns.baton import Baton
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.waits import Waiting

PARALLEL_LOOK_S = 0.25
"""How often a parallel engine looks for a request to stop while its tasks run."""

_DONE = frozenset({states.SUCCESS, states.REVERTED})
_FAILED = frozenset({states.FAILURE, states.REVERTING, states.REVERTED, states.REVERT_FAILURE})


class JobEngine(action_engine.ActionEngine):
    """The engine of one owned job.

    :param threads: None runs one atom after the other in the calling thread; a number, so many at once in a pool
    """

    def __init__(
        self,
        flow: Any,
        detail: models.FlowDetail,
        *,
        journal: FlowJournal,
        stop: stopping.StopSignal,
        output: JobOutput,
        baton: Baton,
        threads: int | None = None,
    ) -> None:
        super().__init__(flow, detail, journal, {"gather_statistics": False})
        self._compiler = JobCompiler(flow)
        self._stop = stop
        self._threads = threads
        self._baton = baton
        self._task_executor = JobExecutor(self, journal, stop, output, baton, threads)
        self._retry_executor = RetryExecutor(self, journal, stop, output, baton)
        self.stopped_atoms: set[str] = set()
        self.waiting: dict[str, Waiting] = {}
        """The atoms that wait for the outside world, and for what."""
        self._journal = journal
        self._interrupted = {found.name for found in detail if found.state == states.RUNNING}

    @functools.cached_property
    def job_waits(self) -> JobWaits:
        """What tasks find when they wait; made for the first that does."""
        return JobWaits(self, self._journal, self._flow_detail)

    def let_read_members(self, reader: membership.Reader) -> None:
        """Let tasks read how the jobs of this one's set stand."""
        self._task_executor.members = self._retry_executor.members = reader

    @functools.cached_property
    def storage(self) -> JobStorage:
        """Where the engine keeps what it knows: TaskFlow's storage, less what the journal makes needless."""

        def scopes_of(atom_name: str) -> Any:
            return self._runtime.fetch_scopes_for(atom_name) if self._compiled else None

        return JobStorage(self._flow_detail, self._journal, scopes_of)

    def compile(self) -> None:
        """Compile the flow, once, and make ready what runs it."""
        if self.compilation is not None:
            return
        self._compilation = self._check_compilation(self._compiler.compile())
        self._runtime = JobRuntime(
            self._compilation,
            self.storage,
            self.atom_notifier,
            self._task_executor,
            self._retry_executor,
            options=self._options,
        )
        self._runtime.compile()
        self._compiled: bool = True

    def validate(self) -> None:
        """Check that every atom gets what it needs; once is enough, and TaskFlow asks again at each run."""
        if not self._validated:
            super().validate()

    def run_until_stopped(self) -> None:
        """Run to the end, or to the next atom border after somebody asked to stop, or until all that is left waits.

        Raises what made the flow fail. If something fails beside tasks that wait, those are undone as well; TaskFlow
        finds them only when it begins again, as it finds all that is RUNNING while nobody runs it.
        """
        while True:
            try:
                self._run_while(lambda: not self._stop.is_set())
            except Exception:
                if not self._has_to_undo_waiting():
                    raise
            else:
                if not self._has_to_undo_waiting():
                    return
            self._forget_waiting()

    def undo(self) -> None:
        """Revert every atom that ran, whatever its outcome; to be run after a stop. Raises if a revert failed.

        It stops at an atom border if the lease is lost or the conductor leaves; undoing again goes on from there.
        """
        self.compile()
        self.prepare()
        self.stopped_atoms.clear()
        self.waiting.clear()
        for retry in self._runtime.iterate_retries(states.RETRYING):
            # TaskFlow would go on retrying, with everything below it; before that it had succeeded.
            self.storage.set_atom_state(retry.name, states.SUCCESS)
        self._runtime.reset_atoms(
            self._runtime.iterate_nodes(compiler.ATOMS), state=None, intention=states.REVERT
        )
        self._task_executor.undoing = self._retry_executor.undoing = True
        self._run_while(self.may_undo)

    def _has_to_undo_waiting(self) -> bool:
        if not self.waiting or self._stop.is_set() or self.storage.get_flow_state() != states.SUSPENDED:
            return False
        return any(self.storage.get_atom_intention(name) != states.EXECUTE for name in self.waiting)

    def _forget_waiting(self) -> None:
        self.stopped_atoms.difference_update(self.waiting)
        self.waiting.clear()

    def may_undo(self) -> bool:
        """Whether undoing may go on: the request that made the flow undo itself does not stop it half-way."""
        return self._stop.reason in ("cancel", "timeout") and not self._stop.leaving

    def reverts_everything(self) -> bool:
        """Whether the flow undoes itself already, since an atom failed for good."""
        atoms = list(self._runtime.iterate_nodes(compiler.ATOMS))
        intentions = self.storage.get_atoms_states(atom.name for atom in atoms).values()
        return bool(atoms) and all(intention == states.REVERT for _, intention in intentions)

    def failures(self) -> dict[str, Failure]:
        """How atoms failed, by name, as far as that still counts.

        TaskFlow goes on telling of what failed in an earlier turn of a retry, until the flow is resumed.
        """
        found = self.storage.get_execute_failures()
        return {name: failure for name, failure in found.items() if self._is_failed(name)}

    def _is_failed(self, name: str) -> bool:
        detail = self._flow_detail.find(self.storage.get_atom_uuid(name))
        return bool(detail.failure) and detail.state in _FAILED

    def _run_while(self, wanted: Callable[[], bool]) -> None:
        if not self._threads:
            self._run(wanted, None)
            return
        with self._baton.passed():  # between its steps it waits for tasks
            self._run(wanted, PARALLEL_LOOK_S)

    def _run(self, wanted: Callable[[], bool], timeout: float | None) -> None:
        """As TaskFlow's ``run``, by our loop."""
        self.compile()
        self.prepare()
        self.validate()
        self._task_executor.start()
        try:
            self._change_state(states.RUNNING)
            self._end_in(self._loop(wanted, timeout))
        finally:
            self._task_executor.stop()

    def _loop(self, wanted: Callable[[], bool], timeout: float | None) -> str:
        """Run the loop until it ends by itself or, when nobody wants it to go on, at the next border."""
        asked = False

        def look() -> None:
            nonlocal asked
            if not asked and not wanted():
                asked = True
                self.suspend()

        loop = RunLoop(self._runtime, look=look, timeout=timeout)
        try:
            state = loop.run()
            Failure.reraise_if_any(loop.failures)
        except Exception:
            self._change_state(states.FAILURE)
            raise
        return state

    def _end_in(self, state: str) -> None:
        """Record how the flow ended; raises what made it fail."""
        self._change_state(state)
        if state not in self.NO_RERAISING_STATES:
            executed = self.storage.get_execute_failures().values()
            Failure.reraise_if_any([*executed, *self.storage.get_revert_failures().values()])

    def mend(self) -> None:
        """Record what follows from how atoms ended: TaskFlow does that apart, and their owner may have died between."""
        for found in list(self._flow_detail):
            if isinstance(found, models.RetryDetail):
                if found.state == states.REVERTED and found.results:
                    self.storage.cleanup_retry_history(found.name, found.state)
            elif found.state in _DONE and found.meta.get("progress", 1.0) != 1.0:
                self.storage.set_task_progress(found.name, 1.0)

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

    def note_wait(self, atom: Any, wait: Waiting) -> None:
        """A task has to wait: it stays RUNNING, as one that its owner left, and is run again when its job goes on."""
        self.waiting[atom.name] = wait
        self.stopped_atoms.add(atom.name)
        self._interrupted.add(atom.name)

    def note_restart(self, atom: Any) -> None:
        """An atom that was RUNNING when its owner died starts again: to TaskFlow that is no change of state."""
        if atom.name in self._interrupted:
            self._interrupted.discard(atom.name)
            recorded = self._flow_detail.find(self.storage.get_atom_uuid(atom.name))
            self.storage.update_atom_metadata(atom.name, self._journal.start_stamp(recorded.meta or {}))

    def is_called_off(self) -> bool:
        """Whether a person's word, or the clock, came before the flow's end: then it does not succeed."""
        return self._stop.reason in ("cancel", "timeout")

    def _change_state(self, state: str) -> None:
        # An atom that stopped early is still RUNNING; TaskFlow then finds nothing left to do and nothing successful,
        # and calls the flow reverted. It is suspended.
        if self.stopped_atoms and state in (states.REVERTED, states.SUCCESS):
            state = states.SUSPENDED
        if state == states.SUCCESS and self.is_called_off():
            state = states.SUSPENDED
        if state == states.SUSPENDED and self.storage.get_flow_state() == states.RUNNING:
            super()._change_state(states.SUSPENDING)  # there is no other way
        super()._change_state(state)
