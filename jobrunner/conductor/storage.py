"""TaskFlow's storage for one owned job, without what the journal makes needless.

TaskFlow guards every save with a retry of its own (three times, 5 s apart, under a write lock) and every look with a
reader-writer lock made of Python conditions; the two are most of what its engine costs for a short task. The journal
retries by itself and never blocks in a save, and one owned flow has one reader at a time, or nearly: a plain
re-entrant lock does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from taskflow.persistence import base, models
from taskflow.storage import Storage


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

    :param backend: the journal's backend; one connection of it serves all calls
    """

    def __init__(
        self,
        detail: models.FlowDetail,
        backend: base.Backend,
        scope_fetcher: Callable[[str], Any],
    ) -> None:
        self._connection = backend.get_connection()
        super().__init__(detail, backend=backend, scope_fetcher=scope_fetcher)
        self._lock = OneLock()

    def _with_connection(self, functor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return functor(self._connection, *args, **kwargs)

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

    def _save_flow_detail(
        self, conn: base.Connection, original_flow_detail: models.FlowDetail, flow_detail: models.FlowDetail
    ) -> models.FlowDetail:
        original_flow_detail.update(conn.update_flow_details(flow_detail))
        return original_flow_detail

    def _save_atom_detail(
        self, conn: base.Connection, original_atom_detail: models.AtomDetail, atom_detail: models.AtomDetail
    ) -> models.AtomDetail:
        original_atom_detail.update(conn.update_atom_details(atom_detail))
        return original_atom_detail
