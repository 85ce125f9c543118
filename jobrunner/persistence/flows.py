"""Reading what a job's flow did: its atoms, from TaskFlow's tables, without importing TaskFlow.

The journal adds to each atom's meta data, under ``jobrunner``, who ran it and when; TaskFlow keeps what it does
not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from jobrunner.model import AtomRecord, Job, flow_id
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, flowdetails

INJECTOR = "_TaskFlow_INJECTOR"
"""The name under which TaskFlow keeps a flow's parameters beside its atoms."""
META_KEY = "jobrunner"
META_ORDER = "order"
"""Key in the flow's meta data (under META_KEY): the names of its atoms in the order in which they are meant to run."""
META_PRINT = "print"
"""Key beside it: the fingerprint of the flow's atoms."""
META_WAITS = "waits"
"""Key in an atom's meta data (under META_KEY): what it waited for in its present turn, and what it found."""
GONE = "GONE"
"""The state that is told of an atom which had not ended, and which the code that its job goes on with has no more."""
_NOT_ENDED = frozenset({"PENDING", "RUNNING", "REVERTING", "RETRYING"})


def atoms_of(database: Database, jobs: Sequence[Job]) -> dict[str, list[AtomRecord]]:
    """The atoms of the jobs' present attempts, in the order of the flow: two queries for any number of jobs."""
    by_flow = {job.flow_id: job.id for job in jobs}
    with database.read() as connection:
        flows = connection.execute(
            sa.select(flowdetails.c.uuid, flowdetails.c.meta).where(flowdetails.c.uuid.in_(list(by_flow)))
        ).all()
        query = sa.select(atomdetails).where(atomdetails.c.parent_uuid.in_(list(by_flow)))
        rows = connection.execute(query).mappings().all()
    ranks = {row.uuid: _ranks(row.meta) for row in flows}
    found: dict[str, list[tuple[Any, AtomRecord]]] = {job.id: [] for job in jobs}
    for row in rows:
        if row["name"] != INJECTOR:
            flow = row["parent_uuid"]
            atom = _atom(row)
            known = ranks.get(flow)
            if known and atom.name not in known and atom.state in _NOT_ENDED:
                atom = replace(atom, state=GONE)
            rank = (known or {}).get(atom.name, 1_000_000)
            found[by_flow[flow]].append(((rank, atom.started_ms or 1 << 62, atom.name), atom))
    return {
        job_id: [atom for _, atom in sorted(atoms, key=lambda pair: pair[0])]
        for job_id, atoms in found.items()
    }


def flow_state(database: Database, job_id: str, attempt: int) -> str | None:
    """TaskFlow's state of an attempt's flow, or None if it never started."""
    query = sa.select(flowdetails.c.state).where(flowdetails.c.uuid == flow_id(job_id, attempt))
    with database.read() as connection:
        return connection.execute(query).scalar()


def loads(value: Any) -> Any:
    """A JSON column of TaskFlow's, read as text; None if it is empty or broken."""
    try:
        return None if value is None else json.loads(value)
    except (TypeError, ValueError):
        return None


def _ranks(meta: Any) -> dict[str, int]:
    order = _object(_object(loads(meta)).get(META_KEY)).get(META_ORDER)
    names = order if isinstance(order, list) else []
    return {name: number for number, name in enumerate(names) if isinstance(name, str)}


def _atom(row: Mapping[Any, Any]) -> AtomRecord:
    """An atom as far as it can be read: what is broken of it is left out, for ``show`` has to show the rest."""
    meta = _object(loads(row["meta"]))
    ours = _object(meta.get(META_KEY))
    details = _object(meta.get("progress_details"))
    failure = loads(row["failure"]) or loads(row["revert_failure"])
    return AtomRecord(
        name=str(row["name"]),
        kind="retry" if row["atom_type"] == "RETRY_DETAIL" else "task",
        state=row["state"] or "PENDING",
        intention=row["intention"] or "EXECUTE",
        progress=_number(meta.get("progress")),
        detail=_said(details.get("details")),
        owner=ours.get("owner"),
        node=ours.get("node"),
        epoch=_integer(ours.get("epoch")),
        starts=_integer(ours.get("starts")) or 0,
        started_ms=_integer(ours.get("started_ms")),
        finished_ms=_integer(ours.get("finished_ms")),
        result=loads(row["results"]),
        failure=_failure_text(failure),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _said(details: Any) -> str | None:
    """What a task says with its progress: the ``message`` of its details, or all of them."""
    if not isinstance(details, dict):
        return None if details is None else str(details)
    if "message" in details:
        return str(details["message"])
    return ", ".join(f"{key}={value}" for key, value in details.items())


def _failure_text(failure: Any) -> str | None:
    if not isinstance(failure, dict):
        return None
    names = failure.get("exc_type_names")
    kind = str(names[0]).rpartition(".")[2] if isinstance(names, list) and names else "Error"
    return f"{kind}: {failure.get('exception_str', '')}"
