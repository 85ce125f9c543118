"""The statements of one group commit, in the order in which they are sent.

Costs, in round trips: one to lock and compare epochs, then one for each kind of row that there is (books, flows, new
atoms, one a set of changed columns, output, two for settlements), whatever the number of flows, then the commit; and
one for each flow whose output has outgrown its limit. Drivers send many rows of one kind at once: PyMySQL as one
multi-row statement (of about 1 MB at most), psycopg as a pipeline; SQLite needs no round trip.
"""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection

from jobrunner.persistence.journal.flow import Changes, Fence, FlowJournal
from jobrunner.persistence.output import drop_middle, output_rows
from jobrunner.persistence.ownership import LOCKED_EPOCHS, lock_rows
from jobrunner.persistence.settling import Settled, is_settled, settle_rows
from jobrunner.persistence.tables import atomdetails, flowdetails, logbooks, output

Batch = Sequence[tuple[FlowJournal, Changes]]


def epochs_held(connection: Connection, fences: Sequence[Fence]) -> dict[str, tuple[int, str]]:
    """Lock the rows of these fences' jobs, in the order of their ids; their epochs and states."""
    ids = [fence.job_id for fence in fences]
    rows = lock_rows(connection, ids, LOCKED_EPOCHS)
    return {row["id"]: (row["epoch"], row["state"]) for row in rows}


def write_batch(connection: Connection, batch: Batch) -> list[FlowJournal]:
    """Write all changes whose fences hold; the flows that were left out since their jobs have other epochs."""
    fences = [flow.fence for flow, _ in batch if flow.fence is not None]
    held = epochs_held(connection, fences) if fences else {}
    lost = [flow for flow, _ in batch if not _holds(flow.fence, held)]
    good = [(flow, changes) for flow, changes in batch if _holds(flow.fence, held)]
    _insert_books(connection, [changes.book for _, changes in good if changes.book])
    _insert_flows(connection, [changes.flow for _, changes in good if changes.flow])
    _update_flows(
        connection, [(flow, changes.flow_columns) for flow, changes in good if changes.flow_columns]
    )
    _insert_atoms(connection, [row for _, changes in good for row in changes.new_atoms.values()])
    _update_atoms(connection, [(flow, changes.atoms) for flow, changes in good if changes.atoms])
    _write_output(connection, good)
    _settle(connection, good, held)
    return lost


def _holds(fence: Fence | None, held: Mapping[str, tuple[int, str]]) -> bool:
    return fence is None or (fence.job_id in held and held[fence.job_id][0] == fence.epoch)


def _insert_books(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        now = _now()
        connection.execute(
            _upsert(connection, logbooks, ("name",)), [{"created_at": now, **row} for row in rows]
        )


def _insert_flows(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        now = _now()
        stamped = [{"created_at": now, "updated_at": now, **row} for row in rows]
        connection.execute(_upsert(connection, flowdetails, ("state", "meta", "updated_at")), stamped)


def _update_flows(connection: Connection, changed: list[tuple[FlowJournal, dict[str, Any]]]) -> None:
    rows = [({"uuid": flow.flow_id, "parent_uuid": flow.book_id}, columns) for flow, columns in changed]
    _update_rows(connection, flowdetails, rows)


_ATOM_ROW = (
    "state",
    "intention",
    "meta",
    "results",
    "failure",
    "revert_results",
    "revert_failure",
    "updated_at",
)


def _insert_atoms(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        now = _now()
        stamped = [{"created_at": now, "updated_at": now, **row} for row in rows]
        connection.execute(_upsert(connection, atomdetails, _ATOM_ROW), stamped)


def _update_atoms(
    connection: Connection, changed: list[tuple[FlowJournal, dict[str, dict[str, Any]]]]
) -> None:
    rows = [
        ({"uuid": uuid, "parent_uuid": flow.flow_id}, columns)
        for flow, atoms in changed
        for uuid, columns in atoms.items()
    ]
    _update_rows(connection, atomdetails, rows)


def _update_rows(
    connection: Connection, table: sa.Table, changed: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """Set columns of rows that are there: one statement for each set of columns."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    now = _now()
    # MariaDB and MySQL take many rows in one round trip only by INSERT; the rows are there, so none is inserted.
    bulk = connection.dialect.name == "mysql"
    for place, columns in changed:
        said = {**columns, "updated_at": now}
        row = {**place, **said} if bulk else {f"new_{name}": value for name, value in said.items()}
        groups[tuple(sorted(said))].append(row if bulk else {"key": place["uuid"], **row})
    for names, rows in groups.items():
        connection.execute(_upsert(connection, table, names) if bulk else _update(table, names), rows)


def _write_output(connection: Connection, batch: Batch) -> None:
    rows = [row for _, changes in batch for chunk in changes.output for row in output_rows(chunk)]
    if rows:
        connection.execute(_insert_new(connection, output), rows)
    for flow, changes in batch:
        if changes.trim_output is not None and flow.fence is not None:
            head, before = changes.trim_output
            drop_middle(
                connection, flow.fence.job_id, flow.fence.attempt, flow.fence.epoch, head=head, before=before
            )


def _settle(connection: Connection, batch: Batch, held: Mapping[str, tuple[int, str]]) -> None:
    settled = [
        Settled(
            job_id=flow.fence.job_id,
            epoch=flow.fence.epoch,
            attempt=flow.fence.attempt,
            owner=flow.fence.owner,
            settlement=changes.settlement,
        )
        for flow, changes in batch
        if flow.fence is not None
        and changes.settlement is not None
        and not is_settled(held[flow.fence.job_id][1], changes.settlement)
    ]
    settle_rows(connection, settled, time.time_ns() // 1_000_000)


_statements: dict[tuple[Any, ...], Any] = {}


def _update(table: sa.Table, names: tuple[str, ...]) -> Any:
    key = ("update", table.name, names)
    if key not in _statements:
        values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        _statements[key] = table.update().where(table.c.uuid == sa.bindparam("key")).values(values)
    return _statements[key]


def _upsert(connection: Connection, table: sa.Table, names: tuple[str, ...]) -> Any:
    """Insert rows by uuid, or set these columns of those that are there."""
    dialect = connection.dialect.name
    key = ("upsert", dialect, table.name, names)
    if key not in _statements:
        if dialect == "mysql":
            # VALUES(), not the newer alias: with that PyMySQL would send row by row.
            values = {name: sa.func.VALUES(sa.literal_column(name)) for name in names}
            _statements[key] = mysql.insert(table).on_duplicate_key_update(values)
        else:
            other = (postgresql if dialect == "postgresql" else sqlite).insert(table)
            _statements[key] = other.on_conflict_do_update(
                index_elements=["uuid"], set_={name: other.excluded[name] for name in names}
            )
    return _statements[key]


def _insert_new(connection: Connection, table: sa.Table) -> Any:
    """Insert rows; one that is there already, by a unique index, is left as it is."""
    dialect = connection.dialect.name
    key = ("insert", dialect, table.name)
    if key not in _statements:
        if dialect == "mysql":
            _statements[key] = mysql.insert(table).prefix_with("IGNORE")
        else:
            module = postgresql if dialect == "postgresql" else sqlite
            _statements[key] = module.insert(table).on_conflict_do_nothing()
    return _statements[key]


def _now() -> datetime.datetime:
    """TaskFlow's columns hold UTC without saying so."""
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
