"""What is sent to SQL for one group commit, in the order in which it is sent.

Costs two round trips, whatever the number of flows: one locks the jobs' rows and reads their epochs, one writes all
that there is and commits. On MariaDB and MySQL both are one, as long as nobody has lost a job and no attempt ended that
another may follow: the server compares the epochs that it has locked, and stops if they differ. A group of more than a
megabyte takes one more for each. Books, new flows and new atoms are one statement each, changed rows one for each set
of changed columns (on PostgreSQL and SQLite one a row), jobs that end one for each way in which they end, and their
events one.
"""

from __future__ import annotations

import datetime
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner import times
from jobrunner.model import JobState
from jobrunner.persistence.journal.flow import Changes, Fence, FlowJournal
from jobrunner.persistence.output import OUTPUT_COLUMNS, drop_middle, output_rows
from jobrunner.persistence.ownership.settling import Settled, is_settled, settle_rows
from jobrunner.persistence.pipelines.inserts import insert_new, upsert
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import LOCKED_ENDS, LOCKED_EPOCHS, lock_rows, rely_on_epochs
from jobrunner.persistence.signals import take
from jobrunner.persistence.tables import atomdetails, flowdetails, logbooks, output

Batch = Sequence[tuple[FlowJournal, Changes]]


Rows = Mapping[str, Mapping[str, Any]]


def may_trust(batch: Batch) -> bool:
    """Whether ``write_trusting`` serves: what follows an attempt that ended depends on more than the epoch."""
    return not any(_is_retried(changes) for _, changes in batch)


def _is_retried(changes: Changes) -> bool:
    return changes.settlement is not None and changes.settlement.again_ms is not None


def epochs_held(pipeline: Pipeline, fences: Sequence[Fence], wanted: Statement = LOCKED_EPOCHS) -> Rows:
    """Lock the rows of these fences' jobs, in the order of their ids; by id, what is wanted of them."""
    rows = lock_rows(pipeline, [fence.job_id for fence in fences], wanted)
    return {row["id"]: row for row in rows}


def write_trusting(pipeline: Pipeline, batch: Batch) -> None:
    """Write all changes, relying on all fences: if one does not hold, NotHeld is raised and nothing is written."""
    fences = [flow.fence for flow, _ in batch if flow.fence is not None]
    if fences:
        rely_on_epochs(pipeline, {fence.job_id: fence.epoch for fence in fences})
    running = {"state": JobState.RUNNING.value}
    _write(pipeline, batch, {fence.job_id: running for fence in fences})


def write_batch(pipeline: Pipeline, batch: Batch) -> list[FlowJournal]:
    """Write all changes whose fences hold; the flows that were left out since their jobs have other epochs."""
    wanted = LOCKED_EPOCHS if may_trust(batch) else LOCKED_ENDS
    held = epochs_held(pipeline, [flow.fence for flow, _ in batch if flow.fence is not None], wanted)
    lost = [flow for flow, _ in batch if not _holds(flow.fence, held)]
    _write(pipeline, [(flow, changes) for flow, changes in batch if _holds(flow.fence, held)], held)
    return lost


def _write(pipeline: Pipeline, good: Batch, held: Rows) -> None:
    now = _now(pipeline)
    _insert_books(pipeline, [changes.book for _, changes in good if changes.book], now)
    _insert_flows(pipeline, [changes.flow for _, changes in good if changes.flow], now)
    _update_flows(pipeline, good, now)
    _insert_atoms(pipeline, [row for _, changes in good for row in changes.new_atoms.values()], now)
    _update_atoms(pipeline, good, now)
    _take_signals(pipeline, good)
    _write_output(pipeline, good)
    _settle(pipeline, good, held)


def _holds(fence: Fence | None, held: Rows) -> bool:
    return fence is None or (fence.job_id in held and held[fence.job_id]["epoch"] == fence.epoch)


# -- rows that are new, or may be


_BOOK = ("name",)
_FLOW = ("state", "meta", "updated_at")
_ATOM = (
    "state",
    "intention",
    "meta",
    "results",
    "failure",
    "revert_results",
    "revert_failure",
    "updated_at",
)


def _insert_books(pipeline: Pipeline, rows: list[dict[str, Any]], now: Any) -> None:
    _upsert(pipeline, logbooks, _BOOK, [{"created_at": now, **row} for row in rows])


def _insert_flows(pipeline: Pipeline, rows: list[dict[str, Any]], now: Any) -> None:
    _upsert(pipeline, flowdetails, _FLOW, [{"created_at": now, "updated_at": now, **row} for row in rows])


def _insert_atoms(pipeline: Pipeline, rows: list[dict[str, Any]], now: Any) -> None:
    _upsert(pipeline, atomdetails, _ATOM, [{"created_at": now, "updated_at": now, **row} for row in rows])


def _upsert(pipeline: Pipeline, table: sa.Table, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Insert rows by uuid, or set these columns of those that are there."""
    if rows:
        statement = upsert(pipeline.dialect, table, tuple(rows[0]), key=("uuid",), changed=names)
        pipeline.add(statement, rows)


# -- rows that are there


def _update_flows(pipeline: Pipeline, batch: Batch, now: Any) -> None:
    changed = [
        ({"uuid": flow.flow_id, "parent_uuid": flow.book_id}, changes.flow_columns)
        for flow, changes in batch
        if changes.flow_columns
    ]
    _update(pipeline, flowdetails, changed, now)


def _update_atoms(pipeline: Pipeline, batch: Batch, now: Any) -> None:
    changed = [
        ({"uuid": uuid, "parent_uuid": flow.flow_id}, columns)
        for flow, changes in batch
        for uuid, columns in changes.atoms.items()
    ]
    _update(pipeline, atomdetails, changed, now)


def _update(
    pipeline: Pipeline,
    table: sa.Table,
    changed: list[tuple[dict[str, Any], dict[str, Any]]],
    now: Any,
) -> None:
    """Set columns of rows that are there: one statement for each set of columns."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    # MariaDB and MySQL take many rows in one statement only by INSERT; the rows are there, so none is inserted.
    bulk = pipeline.dialect == "mysql"
    for place, columns in changed:
        said = {**columns, "updated_at": now}
        names = tuple(sorted(said))
        if bulk:
            groups[names].append({**place, **{name: said[name] for name in names}})
        else:
            groups[names].append({"key": place["uuid"], **{f"new_{name}": said[name] for name in names}})
    for names, rows in groups.items():
        if bulk:
            _upsert(pipeline, table, names, rows)
        else:
            pipeline.add(_update_of(table, names), rows)


# -- the rest


def _take_signals(pipeline: Pipeline, batch: Batch) -> None:
    taken = [seq for _, changes in batch if changes.taken for seq in changes.taken]
    if taken:
        take(pipeline, taken, times.now_ms())


def _write_output(pipeline: Pipeline, batch: Batch) -> None:
    rows = [row for _, changes in batch for chunk in changes.output for row in output_rows(chunk)]
    pipeline.add(insert_new(pipeline.dialect, output, OUTPUT_COLUMNS), rows)
    for flow, changes in batch:
        if changes.trim_output is not None and flow.fence is not None:
            head, before = changes.trim_output
            fence = flow.fence
            drop_middle(pipeline, fence.job_id, fence.attempt, fence.epoch, head=head, before=before)


def _settle(pipeline: Pipeline, batch: Batch, held: Rows) -> None:
    settled = [
        Settled(
            job_id=flow.fence.job_id,
            epoch=flow.fence.epoch,
            attempt=flow.fence.attempt,
            owner=flow.fence.owner,
            settlement=changes.settlement,
            row=held[flow.fence.job_id] if _is_retried(changes) else None,
            holds=flow.fence.holds,
        )
        for flow, changes in batch
        if flow.fence is not None
        and changes.settlement is not None
        and not is_settled(held[flow.fence.job_id]["state"], changes.settlement)
    ]
    settle_rows(pipeline, settled, times.now_ms())


# -- texts, each made once


@functools.cache
def _update_of(table: sa.Table, names: tuple[str, ...]) -> Statement:
    values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return Statement(table.update().where(table.c.uuid == sa.bindparam("key")).values(values))


def _now(pipeline: Pipeline) -> Any:
    """TaskFlow's columns hold UTC without saying so, on MariaDB and MySQL without fractions of seconds."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return now.isoformat(" ", "seconds") if pipeline.dialect == "mysql" else now
