"""One owned flow: what is known to be recorded of it, what is pending, and the barriers.

A flow's own thread (or threads, for a parallel engine) records; the writer takes what is pending. Both under the
flow's lock, which is never held during I/O.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskflow import states
from taskflow.persistence import models

from jobrunner import times
from jobrunner.errors import LeaseLost, NotStorable
from jobrunner.persistence.flows import META_KEY, META_WAITS
from jobrunner.persistence.journal.known import KnownAtom
from jobrunner.persistence.journal.rows import atom_row, flow_row
from jobrunner.persistence.output import OutputChunk
from jobrunner.persistence.ownership.settling import Settlement

if TYPE_CHECKING:
    from jobrunner.persistence.journal.writer import Writer

OutputSource = Callable[[], tuple[list[OutputChunk], "tuple[int, int] | None"]]
"""Hands over pending output, and what to trim: see ``output.drop_middle``."""

_LONG = ("meta", "results", "failure", "revert_results", "revert_failure")
"""The columns of flows and atoms whose texts are as long as somebody's values."""
_STARTS = frozenset({states.RUNNING, states.REVERTING})
_UNDER_WAY = frozenset({states.RESUMING, states.RUNNING, states.SUSPENDING})
"""The states of a flow that an engine runs, or ran when its process died."""
_ENDS = frozenset({states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """By what right a flow is written: the job, and the epoch that must still be its."""

    job_id: str
    epoch: int
    attempt: int
    owner: str
    node: str
    holds: tuple[str, ...] = ()
    """The semaphores that the job holds until it is settled."""


@dataclass(slots=True)
class Changes:
    """What is pending for one flow; written as a whole or not at all."""

    book: dict[str, Any] | None = None
    flow: dict[str, Any] | None = None
    flow_columns: dict[str, Any] = field(default_factory=dict)
    new_atoms: dict[str, dict[str, Any]] = field(default_factory=dict)
    atoms: dict[str, dict[str, Any]] = field(default_factory=dict)
    output: list[OutputChunk] = field(default_factory=list)
    trim_output: tuple[int, int] | None = None
    taken: tuple[int, ...] = ()
    """Signals that atoms took; written with the atoms' meta data, which says so."""
    settlement: Settlement | None = None

    def __bool__(self) -> bool:
        return bool(
            self.book
            or self.flow
            or self.flow_columns
            or self.new_atoms
            or self.atoms
            or self.output
            or self.settlement
        )

    @property
    def size(self) -> int:
        """About how many characters are to be sent, of what can be many."""
        rows = (self.flow, self.flow_columns, *self.new_atoms.values(), *self.atoms.values())
        size = sum([len(chunk.text) for chunk in self.output])
        for row in rows:
            if row:
                size += sum([len(text) for text in map(row.get, _LONG) if text])
        return size


class FlowJournal:
    """The record of one owned flow.

    :param fence: by what right it is written; None for flows that belong to no job
    :param stored: whether the flow detail (and its atoms) come from the store; otherwise all of it is pending
    """

    def __init__(
        self,
        writer: Writer,
        detail: models.FlowDetail,
        *,
        book_id: str,
        book: Mapping[str, Any] | None = None,
        fence: Fence | None = None,
        stored: bool = False,
    ) -> None:
        self.writer = writer
        self.flow_id: str = detail.uuid
        self.book_id = book_id
        self.fence = fence
        self.dirty_since: float | None = None
        self._lock = threading.Lock()
        self._pending = Changes()
        self._known: dict[str, KnownAtom] = {}
        self._flow_known = flow_row(detail, book_id)
        self.runs_here = False
        """Whether this process runs the flow: it said so, by one of the flow's states."""
        self._error: BaseException | None = None
        self._on_its_way = False
        self._output: OutputSource | None = None
        self._about_to_take: dict[str, int] = {}
        for atom in detail:
            self._known[atom.uuid] = KnownAtom(atom)
        if not stored:
            self._pending.book = dict(book) if book is not None else None
            self._pending.flow = dict(self._flow_known)
            self._pending.new_atoms = {atom.uuid: self._row(atom) for atom in detail}

    @property
    def error(self) -> BaseException | None:
        """Why nothing more can be recorded: LeaseLost, or what made writing fail for good."""
        return self._error

    def goes_on_in(self, state: str | None) -> bool:
        """Whether this process runs a flow that comes to this state: of a run, which began here or does so by that."""
        return state in _UNDER_WAY and (self.runs_here or state != self._flow_known["state"])

    def fail(self, error: BaseException) -> None:
        """Record nothing from now on; every barrier raises ``error``. The first error stays."""
        with self._lock:
            if self._error is None:
                self._error = error
                self._pending = Changes()
                self.dirty_since = None

    @property
    def result_limit(self) -> int:
        """The largest result of an atom in bytes."""
        return self.writer.result_limit()

    def record_flow(self, detail: models.FlowDetail, *, all_atoms: bool = True) -> bool:
        """Take note of a flow detail's state, meta data and atoms; nothing is written yet. Whether atoms are new in it.

        :param all_atoms: with False, only new atoms are looked at: whoever changes others records them by themselves

        Raises NotStorable.
        """
        with self._lock:
            if self._error is not None:
                return False
            before = len(self._known)
            for atom in detail:
                if all_atoms or atom.uuid not in self._known:
                    self._record_atom(atom)
            row = flow_row(detail, self.book_id)
            columns = {name: row[name] for name in ("state", "meta") if row[name] != self._flow_known[name]}
            self.runs_here = self.goes_on_in(detail.state)
            if columns:
                self._flow_known = row
                (self._pending.flow or self._pending.flow_columns).update(columns)
            self._note_dirty()
            return len(self._known) > before

    def record_flow_state(self, state: str) -> None:
        """Take note of a flow's state, as ``record_flow`` does, where nothing else of it has changed."""
        with self._lock:
            if self._error is None and self._flow_known["state"] != state:
                self._flow_known["state"] = state
                (self._pending.flow or self._pending.flow_columns)["state"] = state
                self._note_dirty()

    def record_atom(self, detail: models.AtomDetail) -> bool:
        """Take note of an atom detail; nothing is written yet. Whether it is about to run or revert.

        Raises NotStorable, and takes note of nothing, if a part of it cannot be stored.
        """
        with self._lock:
            if self._error is not None:
                return False
            starts = self._record_atom(detail)
            self._note_dirty()
            return starts

    def _record_atom(self, detail: models.AtomDetail) -> bool:
        known = self._known.get(detail.uuid)
        if known is None:
            row = self._pending.new_atoms[detail.uuid] = self._row(detail)
            self._known[detail.uuid] = KnownAtom(detail, row)
            return detail.state in _STARTS
        moved = known.state != detail.state
        meta = detail.meta
        if moved:
            detail.meta = self._stamped(detail, known.state)
        try:
            columns = known.changed(detail, self.result_limit)
        except NotStorable:
            detail.meta = meta
            raise
        if columns:
            fresh = self._pending.new_atoms.get(detail.uuid)
            (self._pending.atoms.setdefault(detail.uuid, {}) if fresh is None else fresh).update(columns)
            known.note(detail, columns)
        if detail.uuid in self._about_to_take:
            self._pending.taken += (self._about_to_take.pop(detail.uuid),)
        return moved and detail.state in _STARTS

    def take_with(self, atom_uuid: str, signal: int) -> None:
        """A signal is taken by this atom: to be written together with what is recorded of the atom next."""
        with self._lock:
            self._about_to_take[atom_uuid] = signal

    def _row(self, detail: models.AtomDetail) -> dict[str, Any]:
        return atom_row(detail, self.flow_id, self.result_limit)

    def _stamped(self, detail: models.AtomDetail, before: str | None) -> dict[str, Any]:
        """The atom's meta data with who runs it and since when; only for flows of jobs."""
        if self.fence is not None and (before, detail.state) == (states.RUNNING, states.PENDING):
            return self._unstarted(detail.meta or {})
        if self.fence is None or detail.state not in (*_STARTS, *_ENDS):
            return dict(detail.meta or {})
        if detail.state == states.RUNNING:
            ours = self._start_stamp(detail.meta or {}, fresh=True)
        else:
            ours = dict((detail.meta or {}).get(META_KEY) or {})
            if detail.state in _ENDS:
                ours["finished_ms"] = times.now_ms()
        return {**(detail.meta or {}), META_KEY: ours}

    def start_stamp(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """What the meta data of an atom that is started again, without a change of its state, has to say."""
        return {META_KEY: self._start_stamp(meta)}

    def _start_stamp(self, meta: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]:
        ours = dict(meta.get(META_KEY) or {})
        if fresh:
            ours.pop(META_WAITS, None)
        if self.fence is not None:
            ours |= {"owner": self.fence.owner, "node": self.fence.node, "epoch": self.fence.epoch}
        ours |= {"started_ms": times.now_ms(), "starts": ours.get("starts", 0) + 1}
        ours.pop("finished_ms", None)
        return ours

    @staticmethod
    def _unstarted(meta: Mapping[str, Any]) -> dict[str, Any]:
        """The meta data of an atom that was about to start, and did not since its job was asked to stop."""
        ours = dict(meta.get(META_KEY) or {})
        ours["starts"] = max(0, ours.get("starts", 0) - 1)
        if not ours["starts"]:
            ours = {}
        return {**meta, META_KEY: ours}

    def attach_output(self, source: OutputSource) -> None:
        """Ask ``source`` for what tasks printed whenever something is written for this flow."""
        self._output = source

    def note_output(self) -> None:
        """There is output to write; it goes with the next commit, or after LAZY_S."""
        if self._error is None:
            self._note_dirty()

    def barrier(self) -> None:
        """Return when everything recorded so far is committed.

        Raises LeaseLost if the job has another owner, StoreUnavailable if the database stayed away for longer than the
        patience, or what else made writing fail for good.
        """
        if self._error is not None:
            raise self._error
        if self.has_pending():
            self.writer.flush(self)
        if self._error is not None:
            raise self._error

    def has_pending(self) -> bool:
        """Whether a barrier would have to wait: something is pending or on its way."""
        with self._lock:
            return bool(self._pending) or self._on_its_way

    def settle(self, settlement: Settlement) -> None:
        """Commit the job's end (or hand-back) together with everything pending; raises as :meth:`barrier` does."""
        self._settle(settlement)
        self.barrier()

    def settle_then(self, settlement: Settlement, tell: Callable[[], None]) -> None:
        """As :meth:`settle`, without blocking: ``tell`` is called by the writer's thread; then look at ``error``."""
        self._settle(settlement)
        self.writer.flush_then(self, tell)

    def _settle(self, settlement: Settlement) -> None:
        with self._lock:
            if self._error is not None:
                raise self._error
            self._pending.settlement = settlement
            self._note_dirty()

    def take(self) -> Changes:
        """Hand what is pending to the writer; for the writer only."""
        with self._lock:
            changes, self._pending = self._pending, Changes()
            self.dirty_since = None
            if self._output is not None:
                changes.output, changes.trim_output = self._output()
            self._on_its_way = True
            return changes

    def written(self) -> None:
        """What was taken is committed, or has failed; for the writer only."""
        with self._lock:
            self._on_its_way = False

    def lost(self) -> None:
        """Another owner has the job."""
        self.fail(LeaseLost())

    def _note_dirty(self) -> None:
        if self.dirty_since is None:
            self.dirty_since = time.monotonic()
