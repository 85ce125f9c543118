"""Jobs with flows on a journal, as a conductor would have them, and instruments that watch what is sent to SQL."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from taskflow import states
from taskflow.persistence import models

from jobrunner.model import Job, Posting, flow_id
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.pipelines.pipeline import log as pipeline_log
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import atomdetails

OWNER, OTHER = "alpha:1:aaaa/0", "beta:2:bbbb/0"
NODE = "alpha"
DEADLINE_S = 20.0


def until(condition: Callable[[], object], *, within: float = DEADLINE_S) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        threading.Event().wait(0.005)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Recorded:
    """A claimed job's flow and its journal."""

    job: Job
    detail: models.FlowDetail
    journal: FlowJournal

    def task(self, name: str = "task-0") -> models.TaskDetail:
        return self.detail.find(next(atom.uuid for atom in self.detail if atom.name == name))

    def set(self, name: str = "task-0", **attributes: Any) -> models.TaskDetail:
        """Record an atom with other attributes, as TaskFlow would: on a copy that then takes the original's place."""
        atom = self.task(name)
        clone = atom.copy()
        for attribute, value in attributes.items():
            setattr(clone, attribute, value)
        self.journal.record_atom(clone)
        atom.update(clone)
        atom.meta = clone.meta
        return atom

    def start(self, name: str = "task-0") -> None:
        self.set(name, state=states.RUNNING)

    def finish(self, name: str = "task-0", result: Any = "done") -> None:
        self.set(name, state=states.SUCCESS, results=result)


@dataclass
class Stage:
    """A database with jobs, a writer, and flows on it."""

    database: Database
    writer: Writer
    flows: list[Recorded] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(self.database)

    def post(self, number: int = 1, **posting: Any) -> list[str]:
        postings = [Posting(**{"type": "made_up", **posting}) for _ in range(number)]
        return [job_id for job_id, _ in self.store.insert(postings, now_ms=now_ms())]

    def flow(
        self, *, tasks: int = 1, owner: str = OWNER, job_id: str | None = None, written: bool = True
    ) -> Recorded:
        """A new job's flow (or a new owner's, of a job that is there), with its first rows written, or pending."""
        job = begin(self.database, [job_id or self.post()[0]], owner=owner, node=NODE).started[0]
        detail = models.FlowDetail("made_up", job.flow_id)
        for number in range(tasks):
            atom = models.TaskDetail(f"task-{number}", flow_id(job.id, 1000 + number))
            atom.state, atom.intention = states.PENDING, states.EXECUTE
            detail.add(atom)
        fence = Fence(job_id=job.id, epoch=job.epoch, attempt=job.attempt, owner=owner, node=NODE)
        book = {"uuid": job.id, "name": job.type, "meta": "{}"}
        journal = FlowJournal(self.writer, detail, book_id=job.id, book=book, fence=fence)
        self.writer.open(journal)
        recorded = Recorded(job, detail, journal)
        self.flows.append(recorded)
        if written:
            journal.barrier()
        return recorded

    def usurp(self, recorded: Recorded, owner: str = OTHER) -> Job:
        """Let another owner begin the job."""
        return begin(self.database, [recorded.job.id], owner=owner, node="beta").started[0]

    def atom(self, recorded: Recorded, name: str = "task-0") -> Any:
        """The atom's row as it is committed, read over a connection of its own."""
        query = sa.select(atomdetails).where(
            atomdetails.c.parent_uuid == recorded.detail.uuid, atomdetails.c.name == name
        )
        with self.database.read() as connection:
            return connection.execute(query).mappings().one()

    def all_events(self, job_id: str) -> list[str]:
        return [each["kind"] for each in self.store.history(job_id)]


@contextlib.contextmanager
def staged(url: str, *, patience: float = 30.0, **options: Any) -> Iterator[Stage]:
    """A stage on a database that has its tables."""
    database = Database(url, **options)
    writer = Writer(database, patience=patience)
    writer.start()
    try:
        yield Stage(database, writer)
    finally:
        writer.stop()
        database.close()


def lock_waits(database: Database, *, at: str = "FOR UPDATE") -> int:
    """How many connections to this database wait for a row's lock in a statement with these words.

    SQLite cannot tell. MariaDB's innodb_trx would say it best, but is not brought up to date while somebody keeps
    asking for it.
    """
    query = {
        "mysql": "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() "
        f"AND id <> CONNECTION_ID() AND info LIKE '%{at}%'",
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
        f"AND wait_event_type = 'Lock' AND query LIKE '%{at}%'",
    }[database.dialect]
    with database.read() as connection:
        if database.dialect == "mysql":  # where the list of connections does not tell what they wait for
            waits = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
            if int(waits.one()[1]) == 0:
                return 0
        return int(connection.exec_driver_sql(query.replace("%", "%%")).scalar_one())


@dataclass
class Sent:
    """What was sent to SQL while somebody watched."""

    statements: list[tuple[str, int]] = field(default_factory=list)
    """Each statement's text, and for how many rows it was executed."""
    commits: int = 0

    def of(self, start: str) -> list[str]:
        return [text for text, _ in self.statements if text.lower().startswith(start.lower())]


class _Heard(logging.Handler):
    """Notes what pipelines say that they send."""

    def __init__(self, sent: Sent) -> None:
        super().__init__(logging.DEBUG)
        self.sent = sent

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "COMMIT":
            self.sent.commits += 1
        else:
            self.sent.statements.append(record.args)  # type: ignore[arg-type]


@contextlib.contextmanager
def watched(engine: Engine) -> Iterator[Sent]:
    """What is sent meanwhile, by pipelines of this process or over connections of this engine."""
    sent = Sent()
    heard = _Heard(sent)

    def on_execute(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        if not statement.upper().startswith(("PRAGMA", "BEGIN")):
            sent.statements.append((" ".join(statement.split()), len(parameters) if executemany else 1))

    def on_commit(connection: Any) -> None:
        sent.commits += 1

    before = pipeline_log.level
    pipeline_log.setLevel(logging.DEBUG)
    pipeline_log.addHandler(heard)
    event.listen(engine, "before_cursor_execute", on_execute)
    event.listen(engine, "commit", on_commit)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", on_execute)
        event.remove(engine, "commit", on_commit)
        pipeline_log.removeHandler(heard)
        pipeline_log.setLevel(before)
