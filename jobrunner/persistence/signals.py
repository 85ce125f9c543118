"""Signals: what the outside world tells a job, kept until a task of it takes it.

Invariants:

- A signal is inserted under the lock on its job's row. So it is there before the job is settled as waiting for it, and
  is found by whoever looks after that; or it comes after, and finds the job waiting.
- It is taken in the transaction that records, with the atom's meta data, who took it (journal/statements.py): never
  twice, and never for nothing.
- A job keeps saying what it awaits until somebody claims it. So whatever dies between the signal and the board, the
  leader finds the job: it awaits what is there.

Costs: ``send`` two round trips, and one more for a key; ``first_untaken`` one query by index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner import times
from jobrunner.errors import CorruptRow, DuplicateKey, JobNotFound, TooManySignals, WrongState
from jobrunner.model import UNOWNED_STATES, Job, JobState, Json, Parked
from jobrunner.persistence import listing
from jobrunner.persistence.encoding import decode
from jobrunner.persistence.job_rows import dump, event_row, job_from_row, state_of_row
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs, signals

PENDING_LIMIT = 1000
"""So many signals wait for the tasks of one job at most."""
ANY = "*"
"""What a job awaits that waits for more signals than its row has room to name."""
AWAITS_LENGTH = 255
WAKE_AT_ONCE = 200
PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A signal as a task gets it."""

    seq: int
    data: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What became of a signal. ``new`` is false if the same was sent before, under its key.

    ``woken`` is the job if it waited for this signal, and is to be offered now.
    """

    new: bool
    state: JobState
    woken: Job | None = None


def awaits_of(names: Collection[str]) -> str | None:
    """What the row of a job says that waits for these signals, any of them."""
    if not names:
        return None
    text = ",".join(sorted(set(names)))
    return text if len(text) <= AWAITS_LENGTH else ANY


def is_awaited(name: str, awaits: str | None) -> bool:
    """Whether a job whose row says that it ``awaits`` this waits for the signal."""
    return awaits is not None and (awaits == ANY or name in awaits.split(","))


# -- sending

_COLUMNS = ("job_id", "name", "data", "at_ms", "author", "sent_key")
_INSERT = Statement(signals.insert(), columns=_COLUMNS)
_PENDING = Statement(
    sa.select(sa.func.count().label("number")).where(
        signals.c.job_id == sa.bindparam("job_id"), signals.c.taken_ms.is_(None)
    )
)
_BY_KEY = Statement(
    sa.select(signals.c.name, signals.c.data).where(
        signals.c.job_id == sa.bindparam("job_id"), signals.c.sent_key == sa.bindparam("sent_key")
    )
)


def send(
    database: Database,
    job_id: str,
    name: str,
    data: Json,
    *,
    key: str | None = None,
    author: str | None = None,
) -> Sent:
    """Keep a signal for a job, and wake the job in its row if it waits for that: one transaction.

    Raises WrongState if the job has ended, TooManySignals, DuplicateKey if the key was used for another signal of this
    job, JobNotFound or CorruptRow.
    """
    row = {"job_id": job_id, "name": name, "data": dump(data), "author": author, "sent_key": key}
    return database.pipelined(lambda pipeline: _send(pipeline, row))


def _send(pipeline: Pipeline, signal: Mapping[str, Any]) -> Sent:
    rows = lock_rows(pipeline, [signal["job_id"]], LOCKED_JOBS)
    if not rows:
        raise JobNotFound(
            f"There is no job {signal['job_id']}.", hint="`jobrunner list` shows the jobs there are."
        )
    (row,) = rows
    state = state_of_row(row)
    if _was_sent(pipeline, signal):
        return Sent(new=False, state=state)
    _require_open(row["id"], state)
    if pipeline.ask(_PENDING, {"job_id": row["id"]})[0]["number"] >= PENDING_LIMIT:
        raise TooManySignals(
            f"{PENDING_LIMIT:,} signals wait for tasks of job {row['id']} already.",
            hint="`jobrunner status` shows what the job does; its tasks have to take signals before it gets more.",
        )
    now_ms = times.now_ms()
    pipeline.add(_INSERT, [{**signal, "at_ms": now_ms}])
    pipeline.add(INSERT_EVENTS, [_event(row, signal, now_ms)])
    woken = _wake(pipeline, row, now_ms) if is_awaited(signal["name"], row["awaits"]) else None
    return Sent(new=True, state=state, woken=woken)


def _was_sent(pipeline: Pipeline, signal: Mapping[str, Any]) -> bool:
    if signal["sent_key"] is None:
        return False
    found = pipeline.ask(_BY_KEY, {"job_id": signal["job_id"], "sent_key": signal["sent_key"]})
    if found and (found[0]["name"], found[0]["data"]) != (signal["name"], signal["data"]):
        raise DuplicateKey(
            f"The key {signal['sent_key']!r} was used before, for another signal to job {signal['job_id']}.",
            hint="Use another key for another signal.",
        )
    return bool(found)


def _require_open(job_id: str, state: JobState) -> None:
    if state.is_terminal:
        raise WrongState(
            f"Job {job_id} has ended already: {state}. No task of it waits for a signal.",
            hint="`jobrunner retry` runs a job that ended badly again; then it can be sent signals.",
        )


def _event(row: Mapping[str, Any], signal: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    data = {"name": signal["name"], "author": signal["author"]}
    return event_row(
        row["id"], "signalled", at_ms=now_ms, epoch=row["epoch"], attempt=row["attempt"], data=data
    )


# -- waking

_UNPARKED = (None, Parked.SIGNAL.value)
_UNOWNED = tuple(state.value for state in UNOWNED_STATES)
"""States in which a job may wait: SUSPENDED, but for one that a person held back meanwhile, and resumed."""


def _wake(pipeline: Pipeline, row: Mapping[str, Any], now_ms: int) -> Job | None:
    """Let anybody claim a job that waits for a signal, or for its time, from now on; the job, if it does wait.

    One that somebody holds back for another reason looks for its signals when that is over.
    """
    if row["state"] not in _UNOWNED or row["parked"] not in _UNPARKED:
        return None
    changed: dict[str, Any] = {"parked": None, "available_ms": min(row["available_ms"], now_ms)}
    if any(row[name] != value for name, value in changed.items()):
        set_columns(pipeline, [row["id"]], changed | {"updated_ms": now_ms})
    try:
        return job_from_row({**row, **changed})
    except CorruptRow:
        return None  # it is reported by whoever reads the row next


def wake_signalled(database: Database, job_ids: Sequence[str]) -> list[Job]:
    """Those of these jobs that await a signal that is there: nobody holds them back any more; to be offered now.

    It repairs what was left undone between a signal and the board, and is fine to repeat.
    """
    query = sa.select(jobs.c.id, jobs.c.awaits).where(
        jobs.c.id.in_(list(job_ids)), jobs.c.state.in_(_UNOWNED), jobs.c.awaits.is_not(None)
    )
    with database.read() as connection:
        waiting = connection.execute(query).all()
    return _wake_signalled(database, waiting)


def wake_all_signalled(database: Database) -> Iterator[list[Job]]:
    """The same for all jobs, however many wait: a page of PAGE jobs at a time costs two queries by index."""
    after: int | None = 0
    while after is not None:
        with database.read() as connection:
            values = {"after": after, "most": PAGE}
            waiting = connection.execute(listing.awaiting_oldest_first(), values).all()
        if waiting:
            yield _wake_signalled(database, waiting)
        after = waiting[-1].seq if len(waiting) == PAGE else None


def _wake_signalled(database: Database, waiting: Sequence[Any]) -> list[Job]:
    found = _signalled(database, {row.id: row.awaits for row in waiting})
    woken: list[Job] = []
    for start in range(0, len(found), WAKE_AT_ONCE):
        batch = found[start : start + WAKE_AT_ONCE]
        woken += database.pipelined(lambda pipeline, batch=batch: _wake_all(pipeline, batch))  # type: ignore[misc]
    return woken


def _signalled(database: Database, awaits: Mapping[str, str]) -> list[str]:
    """Those of the jobs for which a signal is there that they await."""
    query = (
        sa.select(signals.c.job_id, signals.c.name)
        .where(signals.c.job_id.in_(list(awaits)), signals.c.taken_ms.is_(None))
        .distinct()
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return sorted({row.job_id for row in rows if is_awaited(row.name, awaits[row.job_id])})


def _wake_all(pipeline: Pipeline, job_ids: Sequence[str]) -> list[Job]:
    now_ms = times.now_ms()
    rows = lock_rows(pipeline, job_ids, LOCKED_JOBS)
    woken = [_wake(pipeline, row, now_ms) for row in rows if row["awaits"] is not None]
    return [job for job in woken if job is not None]


# -- taking


def first_untaken(database: Database, job_id: str, name: str, *, but: Collection[int]) -> Signal | None:
    """The oldest signal of that name that no task has taken, nor is about to (``but``)."""
    query = sa.select(signals.c.seq, signals.c.data).where(
        signals.c.job_id == job_id, signals.c.name == name, signals.c.taken_ms.is_(None)
    )
    if but:
        query = query.where(signals.c.seq.not_in(sorted(but)))
    with database.read() as connection:
        row = connection.execute(query.order_by(signals.c.seq).limit(1)).first()
    return None if row is None else Signal(seq=row.seq, data=_data(row))


def get(database: Database, job_id: str, seq: int) -> Signal:
    """A signal that a task took before; raises CorruptRow if it is gone."""
    query = sa.select(signals.c.seq, signals.c.data).where(signals.c.job_id == job_id, signals.c.seq == seq)
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise CorruptRow(f"The signal {seq} of job {job_id}, which a task took before, is gone.")
    return Signal(seq=row.seq, data=_data(row))


def pending(database: Database, job_id: str) -> list[dict[str, Any]]:
    """The signals that no task has taken, oldest first: ``name``, ``data``, ``at_ms`` and ``author`` of each."""
    query = sa.select(signals.c.name, signals.c.data, signals.c.at_ms, signals.c.author).where(
        signals.c.job_id == job_id, signals.c.taken_ms.is_(None)
    )
    with database.read() as connection:
        rows = connection.execute(query.order_by(signals.c.seq)).mappings().all()
    return [dict(row) | {"data": _or_text(row["data"])} for row in rows]


def _data(row: Any) -> Json:
    return decode(row.data, what=f"The signal {row.seq}")


def _or_text(text: str) -> Json:
    try:
        return decode(text)
    except CorruptRow:
        return text


TAKE = Statement(
    signals.update()
    .where(signals.c.seq.in_(sa.bindparam("seqs", expanding=True)))
    .values(taken_ms=sa.bindparam("now_ms", type_=sa.BigInteger)),
    many="seqs",
)
"""Marks signals as taken; in the transaction that records who took them, under the lock on their jobs' rows."""


def take(pipeline: Pipeline, seqs: Sequence[int], now_ms: int) -> None:
    """Mark signals as taken."""
    pipeline.add(TAKE, [{"seqs": sorted(seqs), "now_ms": now_ms}])
