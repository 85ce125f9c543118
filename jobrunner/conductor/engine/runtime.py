"""What TaskFlow's engine makes of a compiled flow, with our parts in the places of its own.

Subclasses of TaskFlow's public classes. What differs: a task's state and its progress are recorded together, and what
cannot be reverted anyway is not examined for it; the graph, which does not change, is searched once; how far the flow
has come is remembered (frontier.py); what a flow's author is asked, or told, runs as atoms do (asking.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from taskflow import states
from taskflow.engines.action_engine import compiler, deciders, selector
from taskflow.engines.action_engine.actions import task as task_actions

from jobrunner.conductor.engine.asking import AskingRuntime
from jobrunner.conductor.engine.executors import JobExecutor
from jobrunner.conductor.engine.frontier import Frontier
from jobrunner.conductor.engine.storage import JobStorage, is_over, is_undone

SCOPES_KEPT = 1000
"""Flows of no more nodes than this keep what their atoms can see: some 60 MB at the most."""
_UNDOING = (states.REVERT, states.RETRY)


class JobTaskAction(task_actions.TaskAction):
    """Moves tasks from state to state."""

    _storage: JobStorage
    _task_executor: JobExecutor
    _TOGETHER: ClassVar = frozenset({states.RUNNING, states.REVERTING, states.SUCCESS, states.REVERTED})

    def change_state(
        self,
        task: Any,
        state: str,
        progress: float | None = None,
        result: Any = task_actions.TaskAction.NO_RESULT,
    ) -> None:
        """As TaskFlow does, with one record for all of it. Who listens to a task's progress is a flow's author."""
        if progress is not None and len(task.notifier):
            self._task_executor.ask(lambda: self._change_state(task, state, progress, result))
        else:
            self._change_state(task, state, progress, result)

    def _change_state(self, task: Any, state: str, progress: float | None, result: Any) -> None:
        if progress is None or state not in self._TOGETHER:
            super().change_state(task, state, progress=progress, result=result)
            return
        before = self._storage.get_atom_state(task.name)
        if self._is_identity_transition(before, state, task, progress=progress):
            return
        details = {
            "task_name": task.name,
            "task_uuid": self._storage.get_atom_uuid(task.name),
            "old_state": before,
        }
        self._storage.move_task(task.name, state, progress=progress, result=result)
        if result is not self.NO_RESULT:
            details["result"] = result
        self._notifier.notify(state, details)
        task.update_progress(progress)


class JobSelector(selector.Selector):
    """Finds the atoms that come next, by TaskFlow's rules, without walking through the whole flow for each."""

    def __init__(self, runtime: Any) -> None:
        super().__init__(runtime)
        graph, storage = self._execution_graph, self._storage
        kinds = graph.nodes

        def is_done(done: Callable[[Any, Any], bool], node: Any) -> bool:
            if kinds[node].get("noop"):
                return True
            return done(storage.get_atom_state(node.name), storage.get_atom_intention(node.name))

        self._done = Frontier(graph.predecessors, graph.successors, functools.partial(is_done, is_over))
        self._undone = Frontier(graph.successors, graph.predecessors, functools.partial(is_done, is_undone))

    @functools.cached_property
    def _by_name(self) -> dict[str, Any]:
        return {atom.name: atom for atom in self._runtime.iterate_nodes(compiler.ATOMS)}

    def _browse_atoms_for_execute(self, atom: Any = None) -> Iterator[tuple[Any, Any]]:
        if atom is None:
            yield from super()._browse_atoms_for_execute()
            return
        self._catch_up()
        for found in self._atoms(self._done.from_here(atom, through=lambda _: True)):
            is_ready, decider = self._get_maybe_ready_for_execute(found)
            if is_ready:
                yield found, decider

    def _browse_atoms_for_revert(self, atom: Any = None) -> Iterator[tuple[Any, Any]]:
        if atom is None:
            yield from super()._browse_atoms_for_revert()
            return
        self._catch_up()
        for found in self._atoms(self._undone.from_here(atom, through=self._is_no_retry)):
            is_ready, decider = self._get_maybe_ready_for_revert(found)
            if is_ready:
                yield found, decider

    def _get_maybe_ready_for_execute(self, atom: Any) -> tuple[bool, Any]:
        return self._maybe_ready(
            atom,
            states.RUNNING,
            [states.EXECUTE],
            self._done,
            lambda: deciders.IgnoreDecider(atom, self._runtime.fetch_edge_deciders(atom)),
        )

    def _get_maybe_ready_for_revert(self, atom: Any) -> tuple[bool, Any]:
        if self._storage.get_atom_intention(atom.name) not in _UNDOING:
            return False, None
        return self._maybe_ready(atom, states.REVERTING, _UNDOING, self._undone, deciders.NoOpDecider)

    def _maybe_ready(
        self, atom: Any, state: str, intentions: Any, frontier: Frontier, decider: Callable[[], Any]
    ) -> tuple[bool, Any]:
        self._catch_up()
        found: tuple[bool, Any] = self._get_maybe_ready(
            atom, state, intentions, tuple, lambda _: frontier.is_reached(atom), decider
        )
        return found

    def _catch_up(self) -> None:
        """Take back what has changed since somebody asked last."""
        for frontier, names in (
            (self._done, self._storage.resumed_atoms),
            (self._undone, self._storage.stirred_atoms),
        ):
            if names:
                if frontier:
                    for name in names:
                        frontier.take_back(self._by_name[name])
                names.clear()

    def _atoms(self, nodes: Iterable[Any]) -> Iterator[Any]:
        attributes = self._execution_graph.nodes
        return (node for node in nodes if not attributes[node].get("noop"))

    def _is_no_retry(self, node: Any) -> bool:
        """A retry decides itself about what is before it."""
        return bool(self._execution_graph.nodes[node]["kind"] != compiler.RETRY)


class JobRuntime(AskingRuntime):
    """The parts that run one compiled flow."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._nodes: dict[Any, tuple[Any, ...]] = {}
        self._is_large = len(self.compilation.execution_graph) > SCOPES_KEPT
        self._scopes: Any = None

    def iterate_nodes(self, allowed_kinds: Any) -> Iterator[Any]:
        """The nodes of these kinds; the graph is frozen, so they are looked for once."""
        found = self._nodes.get(allowed_kinds)
        if found is None:
            found = self._nodes[allowed_kinds] = tuple(super().iterate_nodes(allowed_kinds))
        return iter(found)

    def fetch_scopes_for(self, atom_name: str) -> Any:
        """The walker of what the atom can see; in a large flow, what the last one found is forgotten.

        Each keeps all that comes before its atom: together the square of a flow's length, half a gigabyte at 3,000
        atoms that take values. An atom's values are looked for in a row. Forgetting costs a second walk when it is run.
        """
        found = super().fetch_scopes_for(atom_name)
        if self._is_large and found is not self._scopes:
            if self._scopes is not None:
                self._scopes._level_cache.clear()
                self._scopes._predecessors = None
            self._scopes = found
        return found

    @functools.cached_property
    def task_action(self) -> JobTaskAction:
        return JobTaskAction(self._storage, self._atom_notifier, self._task_executor)

    @functools.cached_property
    def selector(self) -> JobSelector:
        return JobSelector(self)
