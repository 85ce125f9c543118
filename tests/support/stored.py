"""Jobs as a conductor would leave them in the embedded default's database, and what tests ask of commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.model import AtomRecord, flow_id
from jobrunner.persistence.flows import META_KEY, META_ORDER
from jobrunner.persistence.output import OutputChunk
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, flowdetails, jobs, logbooks, output
from tests.support.command_line import CommandLine, Done

DEADLINE_S = 60.0


@dataclass
class Rows:
    """The embedded default's database, for tests that put rows there as a conductor would leave them."""

    database: Database

    def change(self, job_id: str, **columns: Any) -> None:
        with self.database.write() as connection:
            done = connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))
        assert done.rowcount == 1

    def flow(self, job_id: str, *atoms: AtomRecord, attempt: int = 1) -> None:
        """Record atoms of the job's flow, in this order."""
        names = [atom.name for atom in atoms]
        meta = json.dumps({META_KEY: {META_ORDER: names}})
        flow = flow_id(job_id, attempt)
        with self.database.write() as connection:
            connection.execute(logbooks.insert().values(uuid=job_id, name="greet", meta="{}"))
            connection.execute(
                flowdetails.insert().values(
                    uuid=flow, parent_uuid=job_id, name="greet", meta=meta, state="RUNNING"
                )
            )
            connection.execute(atomdetails.insert(), [_atom_row(flow, atom) for atom in atoms])

    def output(self, *chunks: OutputChunk) -> None:
        with self.database.write() as connection:
            rows = [asdict(chunk) | {"size": chunk.size} for chunk in chunks]
            connection.execute(
                output.insert(), [{key: row[key] for key in row if key != "seq"} for row in rows]
            )

    def count(self) -> int:
        with self.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one())


def _atom_row(flow: str, atom: AtomRecord) -> dict[str, Any]:
    ours = {
        key: getattr(atom, key) for key in ("owner", "node", "epoch", "starts", "started_ms", "finished_ms")
    }
    meta = {
        META_KEY: ours,
        "progress": atom.progress,
        "progress_details": {"at_progress": atom.progress, "details": {"message": atom.detail}},
    }
    return {
        "uuid": f"{flow[:30]}{hash(atom.name) % 10**6:06}",
        "parent_uuid": flow,
        "name": atom.name,
        "version": "1.0",
        "state": atom.state,
        "intention": atom.intention,
        "atom_type": "TASK_DETAIL",
        "meta": json.dumps(meta),
    }


def posted(done: Done) -> str:
    """The id that a posting printed, alone."""
    assert done.code == 0, done.err
    (line,) = done.out.splitlines()
    return line


def eventually(look: Callable[[], Any], what: str) -> Any:
    """What ``look`` returns once that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"it did not happen: {what}")


def get_job(command_line: CommandLine, job_id: str) -> dict[str, Any]:
    done = command_line("status", job_id, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json
    return found
