"""What a task finds when it waits: what it found in an earlier run, what is there now, or that it has to be suspended.

What a task waited for is kept in its atom's meta data, by kind and number: the time until which it waits, which is set
once; and then what it found. A task that begins anew, in another turn of a retry, begins with none of that; what it
took stays taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskflow.persistence import models

from jobrunner import times
from jobrunner.errors import StoreUnavailable, UsageError
from jobrunner.persistence import signals
from jobrunner.persistence.flows import META_KEY, META_WAITS
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.signals import Signal
from jobrunner.waits import Waiting, Waits, timed_out

if TYPE_CHECKING:
    from jobrunner.conductor.engine.engine import JobEngine

log = logging.getLogger(__name__)

WAITS_LIMIT = 200
"""So often a task may wait in one turn: it is all kept with the task, and gone through on each of its runs."""
SHORT_MS = 50
"""For so short a time nobody is suspended."""
AWAY_MS = 1000
"""When the database does not answer a task that asks for signals, the task waits for so long."""

_SLEEP = "sleep"


class JobWaits:
    """What the tasks of one owned job wait for; shared by those that run at once.

    :param detail: the flow as it was loaded: what its atoms took already is nobody else's
    """

    def __init__(self, engine: JobEngine, journal: FlowJournal, detail: models.FlowDetail) -> None:
        self._engine = engine
        self._journal = journal
        self._detail = detail
        self._lock = threading.Lock()
        self._taken: set[int] | None = None

    def recorded(self, atom: str) -> dict[str, list[dict[str, Any]]]:
        """What is recorded of an atom's waits, by kind; a copy."""
        return {kind: [dict(one) for one in found] for kind, found in _waits_of(self._found(atom)).items()}

    def record(self, atom: str, waits: Mapping[str, Any], *, taken: int | None = None) -> None:
        """Record an atom's waits; and in the same commit that a signal is taken."""
        found = self._found(atom)
        ours = {**((found.meta or {}).get(META_KEY) or {}), META_WAITS: waits}
        if taken is not None:
            self._journal.take_with(found.uuid, taken)
        self._engine.storage.update_atom_metadata(atom, {META_KEY: ours})

    def signal(self, name: str) -> Signal | None:
        """The next signal of that name, which is the caller's then; None if there is none."""
        with self._lock:
            if self._taken is None:
                self._taken = {seq for atom in self._detail for seq in _taken_by(atom)}
            found = signals.first_untaken(self._database, self._job_id, name, but=self._taken)
            if found is not None:
                self._taken.add(found.seq)
            return found

    def taken_before(self, seq: int) -> Any:
        """The data of a signal that an earlier run took."""
        return signals.get(self._database, self._job_id, seq).data

    @property
    def _database(self) -> Any:
        return self._journal.writer.database

    @property
    def _job_id(self) -> str:
        return self._journal.book_id

    def _found(self, atom: str) -> models.AtomDetail:
        return self._detail.find(self._engine.storage.get_atom_uuid(atom))


class AtomWaits(Waits):
    """What one run of one atom waits for, call by call. An atom that never waits makes it, and nothing else."""

    def __init__(self, engine: JobEngine, atom: str) -> None:
        self._engine = engine
        self._atom = atom
        self._waits: dict[str, list[dict[str, Any]]] | None = None
        self._calls: dict[str, int] = {}

    def sleep_until(self, until_ms: int) -> None:
        wait, new = self._next(_SLEEP, {"until_ms": until_ms})
        left = wait["until_ms"] - times.now_ms()
        if left <= 0:
            return
        if new:
            self._record()
        if left > SHORT_MS:
            raise Waiting(until_ms=wait["until_ms"])
        threading.Event().wait(left / 1000)

    def take_signal(self, name: str, until_ms: int | None) -> Any:
        wait, new = self._next(f"signal {name}", {} if until_ms is None else {"until_ms": until_ms})
        if wait.get("over"):
            raise timed_out(name)
        try:
            if "seq" in wait:
                return self._job.taken_before(wait["seq"])
            found = self._job.signal(name)
        except StoreUnavailable as error:
            log.warning("the task %s asks for signals again in a moment: %s", self._atom, error.message)
            raise Waiting(signal=name, until_ms=times.now_ms() + AWAY_MS) from error
        if found is not None:
            wait["seq"] = found.seq
            self._record(taken=found.seq)
            return found.data
        raise self._not_there(name, wait, new=new)

    def _not_there(self, name: str, wait: dict[str, Any], *, new: bool) -> BaseException:
        """What to raise for a signal that is not there: SignalTimedOut if it is too late for it, else Waiting."""
        until_ms = wait.get("until_ms")
        if until_ms is not None and until_ms <= times.now_ms():
            wait["over"] = True
            self._record()
            return timed_out(name)
        if new and until_ms is not None:
            self._record()
        return Waiting(signal=name, until_ms=until_ms)

    @property
    def _job(self) -> JobWaits:
        return self._engine.job_waits

    def _next(self, kind: str, asked: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """What is known of the next wait of that kind, and whether it is the first time that the task comes there."""
        if self._waits is None:
            self._waits = self._job.recorded(self._atom)
        number = self._calls.get(kind, 0)
        self._calls[kind] = number + 1
        known = self._waits.setdefault(kind, [])
        if number < len(known):
            return known[number], False
        if sum(map(len, self._waits.values())) >= WAITS_LIMIT:
            raise UsageError(
                f"The task {self._atom} waits for the {WAITS_LIMIT + 1}st time.",
                hint="Divide the waiting among several tasks, or let the job post another one.",
            )
        known.append(asked)
        return asked, True

    def _record(self, *, taken: int | None = None) -> None:
        self._job.record(self._atom, self._waits or {}, taken=taken)


def _waits_of(detail: models.AtomDetail) -> dict[str, list[dict[str, Any]]]:
    """An atom's recorded waits; none, if somebody else wrote something else there."""
    found = ((detail.meta or {}).get(META_KEY) or {}).get(META_WAITS)
    if not isinstance(found, dict):
        return {}
    return {
        kind: [one for one in waits if isinstance(one, dict)]
        for kind, waits in found.items()
        if isinstance(waits, list)
    }


def _taken_by(detail: models.AtomDetail) -> list[int]:
    return [one["seq"] for waits in _waits_of(detail).values() for one in waits if "seq" in one]
