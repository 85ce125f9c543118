"""What TaskFlow's engine makes of a compiled flow, with our parts in the places of its own.

Subclasses of TaskFlow's public classes. What differs: a task's state and its progress are recorded together, and what
cannot be reverted anyway is not examined for it; the graph, which does not change, is searched once; what a flow's
author is asked, or told, runs as atoms do (asking.py).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

from taskflow import states
from taskflow.engines.action_engine import selector
from taskflow.engines.action_engine.actions import task as task_actions

from jobrunner.conductor.asking import AskingRuntime
from jobrunner.conductor.executors import JobExecutor
from jobrunner.conductor.storage import JobStorage

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
    """Finds the atoms that come next."""

    def _get_maybe_ready_for_revert(self, atom: Any) -> tuple[bool, Any]:
        if self._storage.get_atom_intention(atom.name) not in _UNDOING:
            return False, None
        found: tuple[bool, Any] = super()._get_maybe_ready_for_revert(atom)
        return found


class JobRuntime(AskingRuntime):
    """The parts that run one compiled flow."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._nodes: dict[Any, tuple[Any, ...]] = {}

    def iterate_nodes(self, allowed_kinds: Any) -> Iterator[Any]:
        """The nodes of these kinds; the graph is frozen, so they are looked for once."""
        found = self._nodes.get(allowed_kinds)
        if found is None:
            found = self._nodes[allowed_kinds] = tuple(super().iterate_nodes(allowed_kinds))
        return iter(found)

    @functools.cached_property
    def task_action(self) -> JobTaskAction:
        return JobTaskAction(self._storage, self._atom_notifier, self._task_executor)

    @functools.cached_property
    def selector(self) -> JobSelector:
        return JobSelector(self)
