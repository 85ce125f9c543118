"""Commits that fail, or whose answers are lost: the batch again, as a whole, with one outcome."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy.exc import DBAPIError
from taskflow import states

from jobrunner.model import JobState
from jobrunner.persistence.output import OutputChunk, read_output
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Row, Statement
from jobrunner.persistence.tables import jobs
from tests.support.journals import Recorded, Stage, lock_waits, until, watched

CONNECTION_LOST = {
    "sqlite": lambda: sqlite3.OperationalError("disk I/O error"),
    "mysql": lambda: pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    "postgresql": lambda: psycopg.OperationalError("server closed the connection unexpectedly"),
}
DEAD_LOCK = {
    "sqlite": lambda: sqlite3.OperationalError("database is locked"),
    "mysql": lambda: pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock"),
    "postgresql": lambda: psycopg.errors.DeadlockDetected("deadlock detected"),
}


@contextlib.contextmanager
def answer_lost(stage: Stage, *, committed: bool) -> Iterator[list[str]]:
    """The next commit's answer is a broken connection; whether the server got to do it is the test's choice."""
    send = Pipeline.commit
    lost: list[str] = []

    def commit(pipeline: Pipeline) -> None:
        if lost:
            send(pipeline)
            return
        lost.append("commit")
        if committed:
            send(pipeline)
        raise CONNECTION_LOST[stage.database.dialect]()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "commit", commit)
        yield lost


def chunk(recorded: Recorded, text: str, position: int = 0) -> OutputChunk:
    job = recorded.job
    return OutputChunk(
        job_id=job.id,
        attempt=1,
        epoch=job.epoch,
        position=position,
        atom="task-0",
        stream="out",
        at_ms=1,
        text=text,
    )


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_leaves_one_end_one_output_and_one_result(stage: Stage, committed: bool) -> None:
    recorded = stage.flow()
    recorded.start()
    recorded.journal.barrier()
    recorded.finish(result={"answer": 42})
    said = [chunk(recorded, "hello\n")]
    recorded.journal.attach_output(lambda: ([said.pop()] if said else [], None))
    with answer_lost(stage, committed=committed) as lost:
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED, result=42))
    assert lost
    assert stage.all_events(recorded.job.id) == ["posted", "claimed", "succeeded"]
    assert [piece.text for piece in read_output(stage.database, recorded.job.id)] == ["hello\n"]
    assert stage.store.get(recorded.job.id).result == 42
    assert (stage.atom(recorded)["state"], stage.atom(recorded)["results"]) == (
        states.SUCCESS,
        '{"answer":42}',
    )


def test_the_first_rows_of_a_flow_may_be_written_twice(stage: Stage) -> None:
    recorded = stage.flow(written=False)
    with answer_lost(stage, committed=True) as lost:
        recorded.journal.barrier()
    assert lost
    assert stage.atom(recorded)["state"] == states.PENDING


def test_a_flow_that_was_handed_back_stays_so_when_the_answer_was_lost(stage: Stage) -> None:
    recorded = stage.flow()
    with answer_lost(stage, committed=True):
        recorded.journal.settle(Settlement(state=JobState.SUSPENDED))
    job = stage.store.get(recorded.job.id)
    assert (job.state, job.owner) == (JobState.SUSPENDED, None)
    assert stage.all_events(job.id) == ["posted", "claimed", "suspended"]


def test_a_dead_lock_is_answered_by_the_whole_batch_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = [stage.flow() for _ in range(3)]
    refused: list[str] = []

    add = Pipeline.add

    def refuse(pipeline: Pipeline, statement: Statement, rows: Sequence[Row]) -> None:
        add(pipeline, statement, rows)
        if rows and rows[0].keys() & {"uuid", "key"} and not refused:
            refused.append("once")
            raise DEAD_LOCK[stage.database.dialect]()

    monkeypatch.setattr(Pipeline, "add", refuse)
    for recorded in flows:
        recorded.start()
    with watched(stage.database.engine) as sent:
        stage.writer.flush(*(recorded.journal for recorded in flows))
    assert sent.commits == 1
    assert refused
    assert [stage.atom(recorded)["state"] for recorded in flows] == [states.RUNNING] * 3


def test_a_real_dead_lock(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    if stage.database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time, so nothing can lock another out in a circle")
    first, second = sorted([stage.flow(), stage.flow()], key=lambda recorded: recorded.job.id)
    heavy = stage.post(50)
    failures: list[str] = []
    write = stage.writer._transaction

    def noting(batch: Any) -> None:
        try:
            write(batch)
        except DBAPIError as error:
            failures.append(str(error.orig))
            raise

    monkeypatch.setattr(stage.writer, "_transaction", noting)
    with stage.database.engine.connect() as other:
        # The other transaction has changed more, so MariaDB ends the writer's; PostgreSQL ends who finds out first.
        other.execute(jobs.update().where(jobs.c.id.in_(heavy)).values(note="heavy"))
        other.execute(jobs.update().where(jobs.c.id == second.job.id).values(note="locked"))
        first.start()
        second.start()
        flushing = threading.Thread(target=stage.writer.flush, args=(first.journal, second.journal))
        flushing.start()
        until(lambda: first.journal._on_its_way and lock_waits(stage.database) == 1)
        other.execute(jobs.update().where(jobs.c.id == first.job.id).values(note="crossed"))
        other.commit()
    flushing.join()
    assert any("eadlock" in failure for failure in failures)
    assert [stage.atom(recorded)["state"] for recorded in (first, second)] == [states.RUNNING] * 2
