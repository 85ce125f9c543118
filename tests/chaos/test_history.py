"""The triggers write down what was committed, in the order of the commits of each row, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from jobrunner.model import JobState, Posting, flow_id
from jobrunner.persistence.ownership import beginning
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import atomdetails, flowdetails, jobs, logbooks
from tests.chaos import history
from tests.support.servers import MariaDbServer, PostgresServer

Servers = tuple["MariaDbServer | PostgresServer", str]


@pytest.fixture(
    params=[
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def place(request: pytest.FixtureRequest) -> Servers:
    """A server, and the URL of a database on it."""
    server = request.getfixturevalue(f"{request.param}_server")
    return server, request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(place: Servers) -> Iterator[Database]:
    server, url = place
    made = Database(url)
    upgrade(made)
    history.install(server, urlsplit(url).path[1:])
    yield made
    made.close()


def changes(place: Servers) -> list[history.Change]:
    server, url = place
    return history.read(server, urlsplit(url).path[1:])


def post(database: Database) -> str:
    postings = [Posting(type="some")]
    return Store(database).insert(postings, now_ms=time.time_ns() // 1_000_000)[0][0]


def test_a_job_s_changes_stand_in_order(place: Servers, database: Database) -> None:
    before_us = time.time_ns() // 1000
    job_id = post(database)
    beginning.begin(database, [job_id], owner="alice:1:aa/0.11", node="alice")
    beginning.begin(database, [job_id], owner="bob:1:aa/0.11", node="bob")
    with database.write() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == job_id))
    found = [change for change in changes(place) if change.table == "jobs"]
    assert [(change.op, change.was, change.state, change.epoch, change.owner) for change in found] == [
        ("I", None, "WAITING", 0, None),
        ("U", "WAITING", "RUNNING", 1, "alice:1:aa/0.11"),
        ("U", "RUNNING", "RUNNING", 2, "bob:1:aa/0.11"),
        ("D", None, "RUNNING", 2, "bob:1:aa/0.11"),
    ]
    assert {change.row for change in found} == {job_id}
    assert all(before_us - 1000 <= change.at_us <= time.time_ns() // 1000 + 1000 for change in found)


def test_an_atom_s_changes_tell_its_epoch_and_its_result(place: Servers, database: Database) -> None:
    job_id = post(database)
    flow = flow_id(job_id, 1)
    row = {"uuid": "a-1", "parent_uuid": flow, "name": "a", "state": "RUNNING", "atom_type": "TASK_DETAIL"}
    meta = '{"jobrunner": {"epoch": 3, "starts": 2}}'
    with database.write() as connection:
        connection.execute(logbooks.insert().values(uuid=job_id, name="some", meta="{}"))
        connection.execute(flowdetails.insert().values(uuid=flow, parent_uuid=job_id, name="some", meta="{}"))
        connection.execute(atomdetails.insert().values(**row, meta=meta, intention="EXECUTE"))
    with database.write() as connection:
        done = atomdetails.update().where(atomdetails.c.uuid == "a-1")
        connection.execute(done.values(state="SUCCESS", results='"result"'))
    flows = [change for change in changes(place) if change.table == "flowdetails"]
    began, ended = (change for change in changes(place) if change.table == "atomdetails")
    assert [(change.row, change.parent) for change in flows] == [(flow, job_id)]
    assert (began.parent, began.epoch, began.starts, began.digest) == (flow, 3, 2, None)
    assert (ended.was, ended.state, ended.kind) == ("RUNNING", "SUCCESS", "TASK_DETAIL")
    assert ended.digest is not None


def test_what_is_rolled_back_never_was(place: Servers, database: Database) -> None:
    job_id = post(database)
    with database.engine.connect() as connection:
        connection.execute(jobs.update().values(state=JobState.FAILED.value))
        connection.rollback()
    assert [change.state for change in changes(place)] == ["WAITING"]
    with database.read() as connection:
        assert connection.execute(sa.select(jobs.c.id)).scalar() == job_id
