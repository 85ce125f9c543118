"""What becomes of blocked jobs whose links are decided; the invariants are told in links.py.

Each is released, its parameters made of the results that they refer to, or ended: in one transaction for many, under
locks on their rows, with a look at their links that no earlier look can make needless.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import CorruptRow, InvalidParameters
from jobrunner.model import Job, JobError, JobState, Parked
from jobrunner.persistence.chains.links import SKIPPED, ask_links, skipped, unmet
from jobrunner.persistence.encoding import decode
from jobrunner.persistence.job_rows import dump, event_row, job_from_row, preferred_again
from jobrunner.persistence.ownership.settling import (
    INSERT_EVENTS,
    Settled,
    Settlement,
    set_columns,
    settle_rows,
)
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs
from jobrunner.references import Reference, part_of, references, replaced

log = logging.getLogger(__name__)

PARAMETERS_LIMIT_BYTES = 256 * 1024
"""What a job's parameters may take, as when they are posted."""

_RESULTS_OF = Statement(
    sa.select(jobs.c.id, jobs.c.type, jobs.c.state, jobs.c.result).where(
        jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))
    ),
    many="job_ids",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """What became of jobs whose links were decided."""

    released: list[Job] = field(default_factory=list)
    """They go on: to be put on the board."""
    ended: list[str] = field(default_factory=list)
    """They were skipped, or failed: those that come after them are to be looked at in turn."""


def decide(database: Database, job_ids: Sequence[str], *, now_ms: int) -> Followed:
    """Release or skip those of these jobs that are blocked, and whose links are decided; one transaction."""
    return database.pipelined(lambda pipeline: _decide(pipeline, job_ids, now_ms))


def _decide(pipeline: Pipeline, job_ids: Sequence[str], now_ms: int) -> Followed:
    blocked = {
        row["id"]: row
        for row in lock_rows(pipeline, job_ids, LOCKED_JOBS)
        if row["state"] == JobState.BLOCKED.value
    }
    found = ask_links(pipeline, blocked)
    errors: dict[str, JobError] = {}
    free: list[dict[str, Any]] = []
    for job_id, row in blocked.items():
        refused = unmet(found.get(job_id, ()))
        if refused is not None:
            errors[job_id] = skipped(refused)
        elif not any(link.is_open for link in found.get(job_id, ())):
            free.append(row)
    results = _ask_results(pipeline, free)
    followed = Followed()
    for row in free:
        try:
            changed = released(row, results, now_ms)
            changed |= preferred_again(row, max(now_ms, row["available_ms"]))
            followed.released.append(job_from_row({**row, **changed}))
        except InvalidParameters as error:
            errors[row["id"]] = JobError(kind="ResultMissing", message=error.message)
        except CorruptRow as error:
            log.error("%s It stays blocked.", error.sentence)
        else:
            row["changed"] = changed
    _write_released(pipeline, [row for row in free if "changed" in row], now_ms)
    _write_ended(pipeline, [blocked[job_id] for job_id in errors], errors, now_ms)
    followed.ended.extend(sorted(errors))
    return followed


def released(row: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], now_ms: int) -> dict[str, Any]:
    """The columns of a job whose links are met; raises InvalidParameters, in words, or CorruptRow."""
    held = bool(row.get("held"))
    state = JobState.SCHEDULED if row["available_ms"] > now_ms else JobState.WAITING
    changed: dict[str, Any] = {
        "state": (JobState.SUSPENDED if held else state).value,
        "parked": Parked.HELD.value if held else None,
        "note": None,
        "updated_ms": now_ms,
    }
    if may_refer(row):
        changed |= {"parameters": _resolved(row, results), "from_results": 1}
    return changed


def may_refer(row: Mapping[str, Any]) -> bool:
    """Whether its parameters may have references: to be asked before they are read.

    What looks like one in a result that was put there, before a retry, is none.
    """
    return '"$result"' in row["parameters"] and not row.get("from_results")


def referred(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The jobs to whose results the parameters of these rows refer; raises nothing for what cannot be read."""
    found: set[str] = set()
    for row in rows:
        if may_refer(row):
            try:
                given = decode(row["parameters"], what=f"The row of job {row['id']}")
                found |= {str(reference.job) for reference in references(given)}
            except (CorruptRow, InvalidParameters):
                continue
    return found


def _ask_results(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    wanted = referred(rows)
    if not wanted:
        return {}
    return {row["id"]: row for row in pipeline.ask(_RESULTS_OF, {"job_ids": sorted(wanted)})}


def _resolved(row: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The parameters with results in place of the references to them."""
    given = decode(row["parameters"], what=f"The row of job {row['id']}")
    if not isinstance(given, dict):
        raise CorruptRow(f"The row of job {row['id']} has parameters that are no object.")
    read: dict[str, Any] = {}

    def value_of(reference: Reference) -> Any:
        job_id = str(reference.job)
        if job_id not in results:
            raise LookupError(f"is the result of job {job_id[:8]}, which was deleted")
        if job_id not in read:
            read[job_id] = decode(results[job_id].get("result"), what=f"The row of job {job_id}")
        try:
            return part_of(read[job_id], reference.path)
        except LookupError as error:
            whose = f"job {job_id[:8]} ({results[job_id]['type']}, {results[job_id]['state']})"
            raise LookupError(f"is the result of {whose}, which {error.args[0]}") from None

    made = {}
    for name, value in given.items():
        try:
            made[name] = replaced(value, value_of)
        except LookupError as error:
            raise InvalidParameters(f"Its parameter {name!r} {error.args[0]}.") from None
    text = dump(made)
    if len(text.encode()) > PARAMETERS_LIMIT_BYTES:
        raise InvalidParameters(
            f"Its parameters, with the results of other jobs in them, take more than {PARAMETERS_LIMIT_BYTES:,} bytes. "
            "Let those jobs put large data where others can read it, and return where."
        )
    return text


def _write_released(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        alike[json.dumps(row["changed"])].append(row["id"])
    for changed, job_ids in alike.items():
        set_columns(pipeline, job_ids, json.loads(changed))
    pipeline.add(
        INSERT_EVENTS,
        [
            event_row(row["id"], "unblocked", at_ms=now_ms, epoch=row["epoch"], attempt=row["attempt"])
            for row in rows
        ],
    )


def _write_ended(
    pipeline: Pipeline, rows: Sequence[Mapping[str, Any]], errors: Mapping[str, JobError], now_ms: int
) -> None:
    """End jobs that are not run; their epochs are raised, as whenever somebody ends a job that is not his own."""
    by_epoch: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        by_epoch[row["epoch"]].append(row["id"])
    for epoch, job_ids in by_epoch.items():
        set_columns(pipeline, job_ids, {"epoch": epoch + 1})
    settled = [
        Settled(
            job_id=row["id"],
            epoch=row["epoch"] + 1,
            attempt=row["attempt"],
            owner=None,
            settlement=ended_by(errors[row["id"]]),
        )
        for row in rows
    ]
    settle_rows(pipeline, settled, now_ms)


def ended_by(error: JobError) -> Settlement:
    """The end of a job that is never run for this reason."""
    state = JobState.CANCELLED if error.kind == SKIPPED else JobState.FAILED
    return Settlement(state=state, error=error)
