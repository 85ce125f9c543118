"""Reading flows and logbooks from TaskFlow's tables as TaskFlow's details, and writing and deleting logbooks."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from taskflow.persistence import models

from jobrunner.persistence.encoding import encode
from jobrunner.persistence.flows import loads
from jobrunner.persistence.journal.rows import META_LIMIT_BYTES, decode_atom, decode_flow
from jobrunner.persistence.tables import atomdetails, flowdetails, logbooks


def load_flow(
    connection: Connection, flow_id: str, *, lazy: bool = False
) -> tuple[models.FlowDetail, str] | None:
    """A flow detail with its atoms, and its logbook's id; None if there is none. Raises CorruptRow."""
    row = connection.execute(sa.select(flowdetails).where(flowdetails.c.uuid == flow_id)).mappings().first()
    if row is None:
        return None
    detail = decode_flow(row)
    for atom in () if lazy else atoms_of(connection, flow_id):
        detail.add(atom)
    return detail, row["parent_uuid"]


def load_book(connection: Connection, book_id: str, *, lazy: bool = False) -> models.LogBook | None:
    """A logbook with its flows and atoms (without, if ``lazy``); None if there is none. Raises CorruptRow."""
    row = connection.execute(sa.select(logbooks).where(logbooks.c.uuid == book_id)).mappings().first()
    if row is None:
        return None
    book = models.LogBook(row["name"], uuid=row["uuid"])
    meta = loads(row["meta"])
    book.meta = meta if isinstance(meta, dict) else {}
    book.created_at = row["created_at"]
    for detail in () if lazy else flows_of(connection, book_id):
        book.add(detail)
    book.updated_at = row["updated_at"]  # after the flows, whose coming counts as a change
    return book


def flows_of(connection: Connection, book_id: str, *, lazy: bool = False) -> list[models.FlowDetail]:
    """The flows of a logbook, with their atoms (without, if ``lazy``)."""
    query = sa.select(flowdetails).where(flowdetails.c.parent_uuid == book_id)
    details = [decode_flow(row) for row in connection.execute(query).mappings().all()]
    for detail in () if lazy else details:
        for atom in atoms_of(connection, detail.uuid):
            detail.add(atom)
    return details


def atoms_of(connection: Connection, flow_id: str) -> list[models.AtomDetail]:
    """The atoms of a flow; raises CorruptRow."""
    query = sa.select(atomdetails).where(atomdetails.c.parent_uuid == flow_id)
    return [decode_atom(row) for row in connection.execute(query).mappings().all()]


def load_atom(connection: Connection, atom_id: str) -> models.AtomDetail | None:
    """One atom, or None; raises CorruptRow."""
    row = connection.execute(sa.select(atomdetails).where(atomdetails.c.uuid == atom_id)).mappings().first()
    return None if row is None else decode_atom(row)


def flow_of_atom(connection: Connection, atom_id: str) -> str | None:
    """The id of the flow that an atom belongs to."""
    found = connection.execute(
        sa.select(atomdetails.c.parent_uuid).where(atomdetails.c.uuid == atom_id)
    ).scalar()
    return None if found is None else str(found)


def save_book(connection: Connection, book: models.LogBook) -> None:
    """Write a logbook's own row."""
    what = f"The meta data of logbook {book.name}"
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    values: dict[str, Any] = {
        "name": book.name,
        "meta": encode(book.meta or {}, what=what, limit=META_LIMIT_BYTES),
        "created_at": book.created_at or now,
    }
    changed = connection.execute(
        logbooks.update().where(logbooks.c.uuid == book.uuid).values(**values, updated_at=now)
    )
    if not changed.rowcount:
        connection.execute(logbooks.insert().values(uuid=book.uuid, **values, updated_at=book.updated_at))


def delete_book(connection: Connection, book_id: str) -> list[str] | None:
    """Delete a logbook with its flows and atoms; the ids of the flows, or None if there was no such logbook."""
    ours = sa.select(flowdetails.c.uuid).where(flowdetails.c.parent_uuid == book_id)
    flow_ids = [str(flow_id) for flow_id in connection.execute(ours).scalars()]
    connection.execute(atomdetails.delete().where(atomdetails.c.parent_uuid.in_(flow_ids)))
    connection.execute(flowdetails.delete().where(flowdetails.c.uuid.in_(flow_ids)))
    gone = connection.execute(logbooks.delete().where(logbooks.c.uuid == book_id)).rowcount
    return flow_ids if gone else None
