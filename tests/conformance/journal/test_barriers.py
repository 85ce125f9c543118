"""When a flow is blocked until what it recorded is committed, what is sent then, and what goes without waiting."""

from __future__ import annotations

import threading
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from taskflow import engines, states, task
from taskflow.patterns import linear_flow

from jobrunner.errors import WrongState
from jobrunner.model import JobState
from jobrunner.persistence.journal.backend import JournalBackend
from jobrunner.persistence.ownership import ownership
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, jobs
from tests.support.journals import Stage, staged, until, watched

SEEN: list[tuple[str, dict[str, str]]] = []
ASK: list[Database] = []


def committed_states() -> dict[str, str]:
    """The states of all atoms as somebody else sees them."""
    with ASK[0].read() as connection:
        rows = connection.execute(sa.select(atomdetails.c.name, atomdetails.c.state))
        return {row.name: row.state for row in rows}


class Looks(task.Task):
    """Notes what the store says while it runs and reverts."""

    def execute(self) -> str:
        SEEN.append((f"{self.name} runs", committed_states()))
        return self.name

    def revert(self, **_: object) -> None:
        SEEN.append((f"{self.name} reverts", committed_states()))


class Fails(task.Task):
    def execute(self) -> None:
        raise ValueError("on purpose")


@pytest.fixture
def backend(stage: Stage):
    ASK[:], SEEN[:] = [stage.database], []
    backend = JournalBackend(writer=stage.writer)
    yield backend
    backend.close()


def test_an_atom_runs_or_reverts_only_when_that_and_what_came_before_are_committed(
    backend: JournalBackend,
) -> None:
    flow = linear_flow.Flow("f").add(Looks("a"), Looks("b"), Fails("c"))
    with pytest.raises(ValueError, match="on purpose"):
        engines.run(flow, backend=backend)
    seen = dict(SEEN)
    assert seen["a runs"]["a"] == states.RUNNING
    assert (seen["b runs"]["a"], seen["b runs"]["b"]) == (states.SUCCESS, states.RUNNING)
    assert (seen["b reverts"]["c"], seen["b reverts"]["b"]) == (states.REVERTED, states.REVERTING)
    assert (seen["a reverts"]["b"], seen["a reverts"]["a"]) == (states.REVERTED, states.REVERTING)
    assert committed_states() == {"a": states.REVERTED, "b": states.REVERTED, "c": states.REVERTED}


def test_an_atom_costs_one_commit(backend: JournalBackend, stage: Stage) -> None:
    flow = linear_flow.Flow("f").add(*(Looks(f"t{number}") for number in range(10)))
    with watched(stage.database.engine) as sent:
        engines.run(flow, backend=backend)
    making, ending, lazy = 4, 1, 3
    assert 10 < sent.commits <= 10 + making + ending + lazy


def test_a_barrier_with_nothing_to_write_sends_nothing(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.start()
    recorded.journal.barrier()
    with watched(stage.database.engine) as sent:
        recorded.journal.barrier()
        recorded.journal.record_atom(recorded.task().copy())
        recorded.journal.barrier()
    assert sent.statements == []


def test_only_columns_that_changed_are_written(stage: Stage) -> None:
    recorded = stage.flow(tasks=3)
    recorded.finish("task-1", "x" * 1000)
    recorded.journal.barrier()
    with watched(stage.database.engine) as sent:
        recorded.set("task-1", intention=states.REVERT)
        recorded.journal.barrier()
    written = [text for text, _ in sent.statements if "atomdetails" in text]
    assert len(written) == 1
    assert "intention" in written[0]
    assert "results" not in written[0]
    assert "state" not in written[0]
    assert stage.atom(recorded, "task-1")["results"] is not None


def test_meta_data_that_changed_in_place_is_written(stage: Stage) -> None:
    recorded = stage.flow()
    details = {"step": 1}
    recorded.set(meta={"progress_details": {"details": details}})
    recorded.journal.barrier()
    details["step"] = 2
    recorded.set(meta={"progress_details": {"details": details}})
    recorded.journal.barrier()
    assert '"step":2' in stage.atom(recorded)["meta"]


def hold(stage: Stage, *job_ids: str) -> sa.Connection:
    """Lock jobs' rows, as somebody else would, until the connection is rolled back."""
    connection = stage.database.engine.connect()
    connection.execute(sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids)).with_for_update())
    return connection


def test_flows_that_wait_together_share_a_commit(stage: Stage) -> None:
    first, *others = [stage.flow() for _ in range(9)]
    held = hold(stage, first.job.id)
    first.start()
    for recorded in others:
        recorded.start()
    with watched(stage.database.engine) as sent:
        threads = [threading.Thread(target=first.journal.barrier)]
        threads[0].start()
        until(lambda: first.journal._on_its_way)
        threads += [threading.Thread(target=recorded.journal.barrier) for recorded in others]
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(stage.writer._line._urgent) == len(others))
        held.rollback()
        for thread in threads:
            thread.join()
    held.close()
    assert sent.commits == 2
    assert all(stage.atom(recorded)["state"] == states.RUNNING for recorded in (first, *others))


def test_the_statements_of_a_group_do_not_grow_with_it(stage: Stage) -> None:
    def cost(number: int) -> int:
        flows = [stage.flow() for _ in range(number)]
        for recorded in flows:
            recorded.finish()
            recorded.journal._pending.settlement = Settlement(state=JobState.SUCCEEDED, result="done")
        with watched(stage.database.engine) as sent:
            stage.writer.flush(*(recorded.journal for recorded in flows))
        assert sent.commits == 1
        states_now = stage.store.states([recorded.job.id for recorded in flows])
        assert set(states_now.values()) == {JobState.SUCCEEDED}
        return len(sent.statements)

    assert cost(1) == cost(12) == 4  # lock; atoms; jobs; events


def test_what_nobody_waits_for_is_written_soon(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.set(meta={"progress": 0.5})
    until(lambda: stage.atom(recorded)["meta"] == '{"progress":0.5}', within=5.0)


def test_the_end_of_a_job_is_one_commit_with_its_last_atom(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.start()
    recorded.journal.barrier()
    with watched(stage.database.engine) as sent:
        recorded.finish()
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED, result={"answer": 42}))
    assert sent.commits == 1
    job = stage.store.get(recorded.job.id)
    assert (job.state, job.result, job.owner) == (JobState.SUCCEEDED, {"answer": 42}, None)
    assert stage.atom(recorded)["state"] == states.SUCCESS
    with pytest.raises(WrongState):
        ownership.retry(stage.database, job.id)


def test_a_writer_that_stops_writes_what_is_pending(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.set(meta={"progress": 0.25})
    stage.writer.stop()
    assert stage.atom(recorded)["meta"] == '{"progress":0.25}'
    with pytest.raises(RuntimeError, match="not running"):
        stage.writer.flush(recorded.journal)


@pytest.mark.mariadb
def test_a_group_is_one_round_trip(mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is to write; a pool would add two more to each transaction."""
    database = Database(mariadb_url)
    upgrade(database)
    database.close()
    sent: list[str] = []
    send = pymysql.connections.Connection._execute_command

    def noted(self: Any, command: int, sql: Any) -> None:
        if threading.current_thread().name == "journal-writer":
            sent.append(sql if isinstance(sql, str) else bytes(sql).decode())
        send(self, command, sql)

    with staged(mariadb_url) as stage:
        flows = [stage.flow() for _ in range(12)]
        for number, recorded in enumerate(flows):
            recorded.finish(result=number)
            recorded.journal._pending.settlement = Settlement(state=JobState.SUCCEEDED, result=number)
        monkeypatch.setattr(pymysql.connections.Connection, "_execute_command", noted)
        stage.writer.flush(*(recorded.journal for recorded in flows))
        monkeypatch.undo()
        is_mariadb = stage.database.engine.dialect.is_mariadb
    (text,) = sent
    kinds = [statement.split()[0] for statement in text.split(";\n")]
    if is_mariadb:
        assert kinds == ["BEGIN", "INSERT", *["UPDATE"] * 12, "INSERT", "COMMIT", "END"]
        assert text.startswith("BEGIN NOT ATOMIC\nSET @relied = (SELECT ")
    else:  # MySQL has no compound statements outside of routines
        assert kinds == ["SELECT", "INSERT", *["UPDATE"] * 12, "INSERT", "COMMIT"]
    assert "FOR UPDATE" in text
