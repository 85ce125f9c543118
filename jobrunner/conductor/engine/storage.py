"""TaskFlow's storage for one owned job, without what the journal makes needless.

TaskFlow guards every save with a retry of its own (three times, 5 s apart, under a write lock) and every look with a
reader-writer lock made of Python conditions; the two are most of what its engine costs for a short task. The journal
retries by itself and never blocks in a save, so what is saved goes straight to it; and one owned flow has one reader at
a time, or nearly: a plain re-entrant lock does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from taskflow import states
from taskflow.engines.action_engine.actions.base import Action
from taskflow.persistence import models
from taskflow.storage import META_PROGRESS, Storage
from taskflow.types.failure import Failure

from jobrunner.persistence.journal.flow import FlowJournal

_OVER = (states.SUCCESS, states.IGNORE)
_OVER_BY = (states.EXECUTE, states.IGNORE)
_FAILED = (states.FAILURE, states.REVERT_FAILURE)
_UNDONE = (states.PENDING, states.REVERTED, states.IGNORE)


def is_over(state: str, intention: str) -> bool:
    """Whether an atom in this state holds up none of those after it."""
    return state in _OVER and intention in _OVER_BY


def is_undone(state: str, intention: str) -> bool:
    """Whether an atom in this state keeps none of those before it from being reverted."""
    return state in _UNDONE


class OneLock:
    """A re-entrant lock in the shape of the reader-writer lock that TaskFlow asks for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def read_lock(self) -> Any:
        """The lock, to be used by ``with``."""
        return self._lock

    def write_lock(self) -> Any:
        """The same lock: readers are as exclusive as writers."""
        return self._lock


class JobStorage(Storage):
    """The storage of one owned job's engine.

    :param journal: records what is saved; TaskFlow's storage asks a backend for nothing else
    """

    def __init__(
        self, detail: models.FlowDetail, journal: FlowJournal, scope_fetcher: Callable[[str], Any]
    ) -> None:
        super().__init__(detail, backend=journal, scope_fetcher=scope_fetcher)
        self._journal = journal
        self._lock = OneLock()
        self.resumed_atoms: set[str] = set()
        """Atoms that were over, and are not any more, by name; the selector takes them out."""
        self.stirred_atoms: set[str] = set()
        """Atoms that were undone, and are not any more."""
        self._found_failures: dict[str, dict[str, Failure]] = {}

    # The engine asks these a few dozen times for each atom, to find out what is to be run next. Reading one attribute
    # needs no lock.

    def get_atom_uuid(self, atom_name: str) -> Any:
        """The atom's uuid; raises NotFound."""
        return self._atomdetail_by_name(atom_name)[0].uuid

    def get_atom_state(self, atom_name: str) -> Any:
        """The atom's state; raises NotFound."""
        return self._atomdetail_by_name(atom_name)[0].state

    def get_atom_intention(self, atom_name: str) -> Any:
        """The atom's intention; raises NotFound."""
        return self._atomdetail_by_name(atom_name)[0].intention

    def get_atoms_states(self, atom_names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
        """The states and intentions of these atoms; raises NotFound."""
        found = {}
        for name in atom_names:
            detail = self._atomdetail_by_name(name)[0]
            found[name] = (detail.state, detail.intention)
        return found

    def get_flow_state(self) -> Any:
        """The flow's state."""
        return self._flowdetail.state or states.PENDING

    def set_flow_state(self, state: str) -> None:
        """Set the flow's state and record it."""
        with self._lock.write_lock():
            self._flowdetail.state = state
            self._journal.record_flow_state(state)

    def change_flow_state(self, state: str) -> tuple[bool, Any]:
        """Move the flow to this state; whether that is a change, and its state before. Raises InvalidState."""
        with self._lock.write_lock():
            before = self.get_flow_state()
            if not states.check_flow_transition(before, state):
                return False, before
            self.set_flow_state(state)
            return True, before

    def move_task(self, name: str, state: str, *, progress: float, result: Any) -> None:
        """Set a task's state and progress, and what it returned unless that is NO_RESULT, in one record.

        TaskFlow records progress apart, and so writes what an owner's death can leave half done.
        """
        with self._lock.write_lock():
            source, clone = self._atomdetail_by_name(name, expected_type=models.TaskDetail, clone=True)
            if result is Action.NO_RESULT:
                clone.state = state
            else:
                clone.put(state, result)
            clone.meta[META_PROGRESS] = progress
            self._save_atom_detail(self._journal, source, clone)
            if state == states.SUCCESS and clone.intention == states.EXECUTE:
                self._check_all_results_provided(name, result)

    # Each atom that is reverted is told of all failures; TaskFlow looks through all atoms for them each time.

    def save(self, atom_name: str, result: Any, state: str = states.SUCCESS) -> None:
        """Take what an atom returned, or how it failed."""
        with self._lock.write_lock():
            super().save(atom_name, result, state)
            if state in _FAILED:
                self._found_failures.clear()

    def reset(self, atom_name: str, state: str = states.PENDING) -> None:
        """Bring an atom back to this state, as if it had not run."""
        with self._lock.write_lock():
            super().reset(atom_name, state)
            if self._found_failures and not self._failures.get(atom_name):
                for found in self._found_failures.values():
                    found.pop(atom_name, None)

    def _get_failures(self, fail_cache_key: str) -> dict[str, Failure]:
        with self._lock.read_lock():
            found = self._found_failures.get(fail_cache_key)
            if found is None:
                found = self._found_failures[fail_cache_key] = super()._get_failures(fail_cache_key)
            return dict(found)

    def _with_connection(self, functor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return functor(self._journal, *args, **kwargs)

    def _save_flow_detail(
        self, journal: FlowJournal, original: models.FlowDetail, changed: models.FlowDetail
    ) -> models.FlowDetail:
        journal.record_flow(changed, all_atoms=False)
        original.update(changed)
        return original

    def _save_atom_detail(
        self, journal: FlowJournal, original: models.AtomDetail, changed: models.AtomDetail
    ) -> models.AtomDetail:
        journal.record_atom(changed)
        before = original.state, original.intention
        original.update(changed)
        after = original.state, original.intention
        if after != before:
            self._note_move(original.name, before, after)
        return original

    def _note_move(self, name: str, before: tuple[str, str], after: tuple[str, str]) -> None:
        if is_over(*before) and not is_over(*after):
            self.resumed_atoms.add(name)
        if is_undone(*before) and not is_undone(*after):
            self.stirred_atoms.add(name)
