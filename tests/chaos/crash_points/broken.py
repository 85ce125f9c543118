"""Journals and owners that break a promise each: the checks must find every one of them out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from jobrunner.conductor.run import Outcome, run_job
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.server.database import Database
from tests.chaos.crash_points.faults import FaultyWriter, Group, Writes
from tests.chaos.crash_points.owner import Workings

LATE_S = 0.02
"""So long a late writer takes: longer than what follows the answer that it gave too early."""


class LateWriter(FaultyWriter):
    """Lets a flow through its barrier before anything is written."""

    def __init__(self, database: Database, writes: Writes) -> None:
        super().__init__(database, writes)
        self._writing: list[threading.Thread] = []

    def flush(self, *flows: FlowJournal) -> None:
        self._writing.append(threading.Thread(target=super().flush, args=flows, daemon=True))
        self._writing[-1].start()

    def _transaction(self, batch: Group) -> None:
        time.sleep(LATE_S)
        super()._transaction(batch)

    def stop(self) -> None:
        for thread in self._writing:
            thread.join()
        super().stop()


class ResultlessWriter(FaultyWriter):
    """Loses what atoms return."""

    def _transaction(self, batch: Group) -> None:
        for _, changes in batch:
            for columns in changes.atoms.values():
                columns.pop("results", None)
        super()._transaction(batch)


class StartlessWriter(FaultyWriter):
    """Does not record that an atom is about to run."""

    def _transaction(self, batch: Group) -> None:
        for _, changes in batch:
            for columns in changes.atoms.values():
                if columns.get("state") == "RUNNING":
                    del columns["state"]
        super()._transaction(batch)


def forgetful_run(*args: Any, **options: Any) -> Outcome:
    """Goes on with a job as if nobody had begun it."""
    return run_job(*args, **{**options, "fresh": True})


BROKEN: Mapping[str, Workings] = {
    "late": Workings(make_writer=LateWriter),
    "resultless": Workings(make_writer=ResultlessWriter),
    "startless": Workings(make_writer=StartlessWriter),
    "forgetful": Workings(run=forgetful_run),
}
