"""What happens on the sql board inside of a transaction: each step is atomic, and may be run again after a dead lock.

Steps over given jobs lock their rows first, in the order of the job ids, and then act on what they see, so that two
steps over the same jobs follow one another.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.boards import sql_line as line
from jobrunner.boards.entries import to_text
from jobrunner.boards.sql_line import CLAIMED, DELAYED, WAITING, Candidate, line_key
from jobrunner.model import BoardEntry
from jobrunner.persistence.pipelines.inserts import leaving_known
from jobrunner.persistence.server.database import Database, now_ms_of
from jobrunner.persistence.tables import board


def post(connection: Connection, database: Database, entries: Sequence[BoardEntry]) -> int:
    """Put in line what is not there, in the order in which it is given.

    Whoever inserts a row that somebody else is inserting, or has locked, waits for them, while others wait for the rows
    before it: several who post the same jobs at once, as after the board was emptied, would dead-lock. So rows that are
    there are left out, and all who post jobs again do that in the order of their posting.
    """
    now_ms, known = _now_and_known(connection, database, [entry.job_id for entry in entries])
    rows = [_row(entry, now_ms) for entry in entries if entry.job_id not in known]
    if not rows:
        return 0
    added: int = connection.execute(_insert(database.dialect), rows).rowcount
    if added:
        ready = {row["class_key"] for row in rows if row["status"] == WAITING}
        due = min((row["due_ms"] - now_ms for row in rows if row["status"] == DELAYED), default=None)
        line.tell(connection, database, ready, due)
    return added


@functools.cache
def _insert(dialect: str) -> sa.Insert:
    # Nothing here is cut: ids are UUIDs, keys are cut by line_key.
    return leaving_known(dialect, board).execution_options(preserve_rowcount=True)


def _now_and_known(
    connection: Connection, database: Database, job_ids: Sequence[str]
) -> tuple[int, Set[str]]:
    """The time, and those of several jobs that are on the board; one statement."""
    if len(job_ids) == 1:  # who waits for one row only is in nobody's way
        return connection.execute(_now(database.dialect)).one().now_ms, frozenset()
    rows = connection.execute(_now_and_there(database.dialect), {"job_ids": list(job_ids)}).all()
    return max(row.now_ms for row in rows), {row.job_id for row in rows if row.job_id is not None}


@functools.cache
def _now(dialect: str) -> sa.Select[Any]:
    nobody: sa.ColumnElement[Any] = sa.null()
    return sa.select(now_ms_of(dialect).label("now_ms"), nobody.label("job_id"))


@functools.cache
def _now_and_there(dialect: str) -> sa.CompoundSelect[Any]:
    there = sa.select(sa.literal_column("0", sa.BigInteger), board.c.job_id).where(
        board.c.job_id.in_(sa.bindparam("job_ids", expanding=True))
    )
    return sa.union_all(_now(dialect), there)


def claim(
    connection: Connection, database: Database, owner: str, keys: Collection[str], limit: int, lease_ms: int
) -> tuple[list[str], bool]:
    """Claim the first in line; their ids, and whether more may have become due."""
    pulse = line.pulse(connection, database)
    ready, more = line.promote(connection, pulse.now_ms) if pulse.is_due else (set(), False)
    jobs = _lock_first(connection, database, keys, limit)
    until = pulse.now_ms + lease_ms
    line.update(connection, [job.place for job in jobs], status=CLAIMED, due_ms=until, owner=owner)
    is_next = bool(jobs) and (pulse.due_ms is None or pulse.is_due or until < pulse.due_ms)
    line.tell(connection, database, ready, lease_ms if is_next else None)
    return [job.job_id for job in jobs], more


def claim_these(
    connection: Connection,
    database: Database,
    owner: str,
    job_ids: Sequence[str],
    lease_ms: int,
    early: bool = False,
) -> list[str]:
    """Claim those of these jobs that wait, or are due; with ``early`` also the delayed ones."""
    rows = line.lock(connection, database, job_ids)
    free = {row.job_id: row.place for row in rows if _is_free(row, early)}
    if free:
        until = rows[0].now_ms + lease_ms
        line.update(connection, list(free.values()), status=CLAIMED, due_ms=until, owner=owner)
        line.tell(connection, database, (), lease_ms)
    return [job_id for job_id in job_ids if job_id in free]


def _is_free(row: Any, early: bool) -> bool:
    """Whether the row, as locked, is no living claim; and, unless it is early, due."""
    return row.status == WAITING or row.due_ms <= row.now_ms or (early and row.status == DELAYED)


def keep(
    connection: Connection, database: Database, owners: Mapping[str, Set[str]], lease_ms: int
) -> set[str]:
    """Push back the leases of these owners' claims, by job id; the ids of lost ones."""
    rows = line.lock(connection, database, list(owners))
    kept = [row for row in rows if any(_is_claimed_by(row, owner) for owner in owners[row.job_id])]
    if kept:
        until = kept[0].now_ms + lease_ms
        line.update(connection, [row.place for row in kept], due_ms=until)
        if until < min(row.due_ms for row in kept):
            line.tell(connection, database, (), lease_ms)
    return owners.keys() - {row.job_id for row in kept if owners[row.job_id] == {row.owner}}


def pass_on(
    connection: Connection, database: Database, holder: str, owner: str, job_ids: Sequence[str], lease_ms: int
) -> list[str]:
    rows = [row for row in line.lock(connection, database, job_ids) if _is_claimed_by(row, holder)]
    if rows:
        until = rows[0].now_ms + lease_ms
        line.update(connection, [row.place for row in rows], due_ms=until, owner=owner)
        if until < min(row.due_ms for row in rows):
            line.tell(connection, database, (), lease_ms)
    return [row.job_id for row in rows]


def release(
    connection: Connection, database: Database, owner: str, job_ids: Sequence[str], delay_ms: int
) -> int:
    mine = [row for row in line.lock(connection, database, job_ids) if _is_claimed_by(row, owner)]
    _put_back(connection, database, mine, delay_ms)
    return len(mine)


def hasten(connection: Connection, database: Database, job_ids: Sequence[str]) -> int:
    delayed = [row for row in line.lock(connection, database, job_ids) if row.status == DELAYED]
    _put_back(connection, database, delayed, 0)
    return len(delayed)


def call(
    connection: Connection,
    database: Database,
    owner: str,
    job_ids: Sequence[str],
    keys: Collection[str],
    limit: int,
    lease_ms: int,
) -> list[str]:
    rows = {row.job_id: row for row in line.lock(connection, database, job_ids)}
    free = [
        job_id
        for job_id in job_ids
        if (row := rows.get(job_id)) is not None and row.class_key in keys and _is_free(row, early=True)
    ][: max(limit, 0)]
    if free:
        until = rows[free[0]].now_ms + lease_ms
        places = [rows[job_id].place for job_id in free]
        line.update(connection, places, status=CLAIMED, due_ms=until, owner=owner)
        line.tell(connection, database, (), lease_ms)
    others = [row for job_id, row in rows.items() if row.status == DELAYED and job_id not in free]
    _put_back(connection, database, others, 0)
    return free


def release_owner(connection: Connection, database: Database, owner: str) -> list[str]:
    held = sa.select(board.c.job_id).where(board.c.owner == owner).order_by(board.c.job_id)
    released: list[str] = []
    for page in line.pages(connection.execute(held).scalars()):
        rows = line.lock(connection, database, page)
        mine = [row for row in rows if row.status == CLAIMED and row.owner == owner]
        _put_back(connection, database, mine, 0)
        released += [row.job_id for row in mine]
    return released


def consume(connection: Connection, database: Database, owner: str, job_ids: Sequence[str]) -> int:
    rows = line.lock(connection, database, job_ids)
    mine = [row.place for row in rows if _is_claimed_by(row, owner)]
    line.delete(connection, mine)
    return len(mine)


def withdraw(connection: Connection, database: Database, job_ids: Sequence[str]) -> int:
    places = [row.place for row in line.lock(connection, database, job_ids)]
    line.delete(connection, places)
    return len(places)


def clear(connection: Connection, database: Database) -> None:
    connection.execute(sa.delete(board))


def drop_class(connection: Connection, database: Database, key: str) -> None:
    """Delete a class's jobs in whatever state."""
    connection.execute(sa.delete(board).where(line.is_any(), board.c.class_key == key))


def _row(entry: BoardEntry, now_ms: int) -> dict[str, Any]:
    is_delayed = entry.available_ms > now_ms
    return {
        "job_id": entry.job_id,
        "class_key": line_key(entry.job_class),
        "status": DELAYED if is_delayed else WAITING,
        "score": entry.score,
        "due_ms": entry.available_ms if is_delayed else now_ms,
        "entry": to_text(entry),
    }


def _lock_first(
    connection: Connection, database: Database, keys: Collection[str], limit: int
) -> list[Candidate]:
    """Lock the first in line; if others are claiming them at this moment, whoever stands behind them."""
    if database.dialect == "sqlite":
        return line.candidates(connection, keys, limit=limit)
    if len(keys) == 1:
        return line.lock_in_line(connection, next(iter(keys)), limit=limit)
    planned = line.candidates(connection, keys, limit=limit)
    locked: set[Candidate] = set()
    for key, count in Counter(job.class_key for job in planned).items():
        locked.update(line.lock_in_line(connection, key, limit=count))
    if len(locked) < len(planned):
        locked |= _lock_more(connection, {job.class_key for job in planned}, limit, locked)
    return sorted(locked)


def _lock_more(connection: Connection, keys: Set[str], limit: int, locked: Set[Candidate]) -> set[Candidate]:
    """What can be had instead of the planned jobs that somebody else was claiming."""
    more: set[Candidate] = set()
    for key in sorted(keys):
        mine = sum(job.class_key == key for job in locked)
        missing = limit - len(locked) - len(more)
        if missing > 0:
            more.update(set(line.lock_in_line(connection, key, limit=mine + missing)) - locked)
    return more


def _put_back(connection: Connection, database: Database, rows: Sequence[sa.Row[Any]], delay_ms: int) -> None:
    if not rows:
        return
    status, due_ms = (DELAYED if delay_ms > 0 else WAITING), rows[0].now_ms + delay_ms
    line.update(connection, [row.place for row in rows], status=status, due_ms=due_ms, owner=None)
    ready = set() if delay_ms > 0 else {row.class_key for row in rows}
    line.tell(connection, database, ready, delay_ms if delay_ms > 0 else None)


def _is_claimed_by(row: sa.Row[Any], owner: str) -> bool:
    """Whether the row, as locked, is a living claim of this owner's."""
    return bool(row.status == CLAIMED and row.owner == owner and row.due_ms > row.now_ms)
