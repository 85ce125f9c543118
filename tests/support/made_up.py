"""Jobs and atoms made up for tests of what shows them."""

from __future__ import annotations

from typing import Any

from jobrunner.model import AtomRecord, Job, JobClass, JobState, Priority, new_job_id

NOW_MS = 1_750_000_000_000


def made_up_job(state: JobState = JobState.RUNNING, **fields: Any) -> Job:
    """A job posted a minute ago; ``fields`` override what is made up."""
    started = None if state in (JobState.WAITING, JobState.SCHEDULED) else NOW_MS - 30_000
    values: dict[str, Any] = {
        "seq": 1,
        "id": new_job_id(),
        "type": "copy_files",
        "state": state,
        "priority": Priority.NORMAL,
        "parameters": {"source": "/srv"},
        "factory": None,
        "properties": {},
        "job_class": JobClass(type="copy_files"),
        "epoch": 1,
        "attempt": 1,
        "created_ms": NOW_MS - 60_000,
        "updated_ms": NOW_MS - 1_000,
        "available_ms": NOW_MS - 60_000,
        "started_ms": started,
        "finished_ms": NOW_MS - 10_000 if state.is_terminal else None,
        "owner": "alpha:1:ab/0" if state is JobState.RUNNING else None,
        "node": "alpha" if started else None,
    }
    return Job(**{**values, **fields})


def made_up_atom(name: str = "copy", state: str = "RUNNING", **fields: Any) -> AtomRecord:
    """An atom that was started five seconds ago, unless it is PENDING."""
    times = {} if state == "PENDING" else {"started_ms": NOW_MS - 5_000, "starts": 1, "node": "alpha"}
    if state in ("SUCCESS", "REVERTED"):
        times["finished_ms"] = NOW_MS - 3_000
    return AtomRecord(
        **{"name": name, "kind": "task", "state": state, "intention": "EXECUTE", **times, **fields}
    )
