"""Who is next on the sql board: statements that read the line by its index, and what moves a job in the table.

A row is waiting (W), delayed (D) or claimed (C). ``due_ms`` says when a delayed job may be claimed, when a lease ends,
and since when a waiting job may be claimed; always by the database's clock.

Statements are made once and bound again and again: to make one takes longer than SQLite needs to execute it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.model import JobClass
from jobrunner.persistence.server.database import Database, now_ms_of
from jobrunner.persistence.tables import board

H = TypeVar("H", bound=Hashable)

WAITING, DELAYED, CLAIMED = "W", "D", "C"
PROMOTED_AT_ONCE = 100
ROWS_AT_ONCE = 500
ARMS_AT_ONCE = 4
"""Classes whose lines are read in one statement; of more, it is first asked which can have the first jobs."""
KEYS_AT_ONCE = 40
"""Classes whose heads MySQL is asked for one by one, which needs no statistics; with more, that would take longer."""
LONGEST_KEY = 255
"""Characters; longer keys are cut."""
CHANNEL = "jobrunner_board"


class Candidate(NamedTuple):
    """A waiting job, in the order of the line."""

    score: int
    place: int
    job_id: str
    class_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """What a look at the ends of the indexes shows; times are milliseconds by the database's clock."""

    now_ms: int
    due_ms: int | None  # when the next lease ends or the next delayed job is due
    newest_ms: int | None  # since when the newest of the waiting jobs waits

    @property
    def is_due(self) -> bool:
        return self.due_ms is not None and self.due_ms <= self.now_ms


@contextlib.contextmanager
def as_board_errors() -> Iterator[None]:
    """Raise the store's absence as the board's."""
    try:
        yield
    except StoreUnavailable as error:
        raise BoardUnavailable(error.message, hint=error.hint) from error


def line_key(job_class: JobClass) -> str:
    """The class's key as the table has it: one that is too long for the index is cut and made unique by its digest."""
    key = job_class.key
    if len(key) <= LONGEST_KEY:
        return key
    return key[: LONGEST_KEY - 65] + "#" + hashlib.sha256(key.encode()).hexdigest()


def is_now(status: str) -> sa.ColumnElement[bool]:
    """A condition on the status as a constant, so that a plan made once for all parameters can use the indexes."""
    return board.c.status == sa.literal_column(f"'{status}'", sa.String)


def is_any() -> sa.ColumnElement[bool]:
    """Whatever the status; for conditions on a class, whose index begins with the status."""
    return sa.or_(is_now(WAITING), is_now(DELAYED), is_now(CLAIMED))


def pages(items: Iterable[H]) -> Iterator[list[H]]:
    """The items without doubles, in pages that fit into one statement."""
    unique = list(dict.fromkeys(items))
    for start in range(0, len(unique), ROWS_AT_ONCE):
        yield unique[start : start + ROWS_AT_ONCE]


def pulse(connection: Connection, database: Database) -> Pulse:
    """Look at the clock and at what is due; one statement, whatever the number of jobs."""
    row = connection.execute(_ends(database.dialect)).one()
    due = [time for time in row[1:3] if time is not None]
    return Pulse(now_ms=row[0], due_ms=min(due, default=None), newest_ms=row[3])


@functools.cache
def _ends(dialect: str) -> sa.Select[Any]:
    """The statement of a pulse, made once: making it took as long as all else that an idle board does."""

    def end(aggregate: Any, status: str) -> Any:
        return sa.select(aggregate(board.c.due_ms)).where(is_now(status)).scalar_subquery()

    # PostgreSQL tells who waits, and keeps no index for this.
    newest = sa.null() if dialect == "postgresql" else end(sa.func.max, WAITING)
    return sa.select(now_ms_of(dialect), end(sa.func.min, CLAIMED), end(sa.func.min, DELAYED), newest)


def heads(connection: Connection, status: str) -> dict[str, int]:
    """The score of the first job of each class that has jobs with that status, by class key.

    One statement that jumps from class to class in the index, whatever the number of jobs.
    """
    if connection.dialect.name == "mysql":
        return {key: score for found, key, score in connection.execute(_grouped_heads()) if found == status}
    return _scores(connection.execute(_heads_with(status)))


def class_keys(connection: Connection) -> set[str]:
    """The keys of the classes that have jobs, whatever their status."""
    if connection.dialect.name == "mysql":
        return {key for _, key, _ in connection.execute(_grouped_heads())}
    return {key for status in (WAITING, DELAYED, CLAIMED) for key in heads(connection, status)}


@functools.cache
def _heads_with(status: str) -> sa.Select[Any]:
    def first(column: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        return sa.select(column).where(is_now(status), *conditions).order_by(column).limit(1)

    found = sa.select(first(board.c.class_key).subquery().c.class_key).cte("found", recursive=True)
    following = first(board.c.class_key, board.c.class_key > found.c.class_key).scalar_subquery()
    found = found.union_all(sa.select(following).where(found.c.class_key.is_not(None)))
    score = first(board.c.score, board.c.class_key == found.c.class_key).scalar_subquery()
    return sa.select(found.c.class_key, score).where(found.c.class_key.is_not(None))


@functools.cache
def _grouped_heads() -> sa.Select[Any]:
    """For MySQL and MariaDB, where a subquery does not jump but GROUP BY does.

    With a condition on the status they may well prefer to read all of its rows, so it is left out. Before their
    statistics are renewed, some seconds after thousands of jobs were posted, they may still read all rows.
    """
    grouped = sa.select(board.c.status, board.c.class_key, sa.func.min(board.c.score))
    grouped = grouped.group_by(board.c.status, board.c.class_key)
    hinted = grouped.with_hint(board, "FORCE INDEX FOR GROUP BY (board_line)", "mysql")
    return hinted.with_hint(board, "FORCE INDEX FOR GROUP BY (board_line)", "mariadb")


def _scores(rows: Any) -> dict[str, int]:
    return {key: score for key, score in rows}  # noqa: C416 - a result is taken for a mapping by dict()


def candidates(
    connection: Connection, keys: Collection[str], *, limit: int, skip: int = 0
) -> list[Candidate]:
    """The first jobs in line over all these classes; locks nothing."""
    if not keys or limit < 1:
        return []
    wanted = limit + skip
    if len(keys) > ARMS_AT_ONCE:
        keys = _with_first_heads(_heads_of(connection, keys), wanted)
    found: list[Candidate] = []
    ordered = sorted(keys)
    for start in range(0, len(ordered), ARMS_AT_ONCE):
        of_arms = {f"key_{number}": key for number, key in enumerate(ordered[start : start + ARMS_AT_ONCE])}
        rows = connection.execute(_lines_of(len(of_arms)), {**of_arms, "most": wanted})
        found += [Candidate(*row) for row in rows]
    return sorted(found)[skip:wanted]


@functools.cache
def _lines_of(number: int) -> sa.CompoundSelect[Any]:
    """The first ``most`` jobs of each of the classes ``key_0``, ``key_1``, ..."""
    arms = [sa.select(_line_of(_text(f"key_{arm}")).limit(_MOST).subquery()) for arm in range(number)]
    return sa.union_all(*arms)


def _heads_of(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    """The score of the first waiting job of each of these classes that has some."""
    if connection.dialect.name != "mysql" or len(keys) > KEYS_AT_ONCE:
        return {key: score for key, score in heads(connection, WAITING).items() if key in keys}
    found: dict[str, int] = {}
    for page in pages(sorted(keys)):
        by_name = {f"key_{number}": key for number, key in enumerate(page)}
        scores = connection.execute(_first_scores(len(page)), by_name).one()
        found.update((key, score) for key, score in zip(page, scores, strict=True) if score is not None)
    return found


@functools.cache
def _first_scores(number: int) -> sa.Select[Any]:
    lines = [_line_of(_text(f"key_{arm}")) for arm in range(number)]
    return sa.select(*(line.with_only_columns(board.c.score).limit(1).scalar_subquery() for line in lines))


def _with_first_heads(scores: dict[str, int], wanted: int) -> list[str]:
    """The classes of which the first ``wanted`` jobs in line can be: as many as jobs, by their first jobs' scores."""
    ranked = sorted((score, key) for key, score in scores.items())
    last = ranked[:wanted][-1][0] if ranked else 0
    return [key for score, key in ranked if score <= last]


_MOST = sa.bindparam("most", type_=sa.Integer)


def _text(name: str) -> sa.BindParameter[str]:
    return sa.bindparam(name, type_=board.c.class_key.type)


def _line_of(key: str | sa.BindParameter[str]) -> sa.Select[Any]:
    """The jobs of a class that wait, first in line first."""
    columns = (board.c.score, board.c.place, board.c.job_id, board.c.class_key)
    return (
        sa.select(*columns)
        .where(is_now(WAITING), board.c.class_key == key)
        .order_by(board.c.score, board.c.place)
    )


def lock_in_line(connection: Connection, key: str, *, limit: int) -> list[Candidate]:
    """Lock the first jobs of a class's line that nobody else is claiming; waits for nobody."""
    rows = connection.execute(_locked_line(), {"key": key, "most": limit})
    return [Candidate(*row) for row in rows]


@functools.cache
def _locked_line() -> sa.Select[Any]:
    return _line_of(_text("key")).limit(_MOST).with_for_update(skip_locked=True)


def page_of_rows(
    connection: Connection, database: Database, after: str | None, limit: int
) -> Sequence[sa.Row[Any]]:
    """Rows in the order of their job ids, from behind ``after`` on."""
    is_claimed = sa.and_(board.c.status == CLAIMED, board.c.due_ms > database.now_ms())
    page = sa.select(
        board.c.job_id, board.c.entry, board.c.owner, board.c.due_ms, is_claimed.label("is_claimed")
    )
    if after is not None:
        page = page.where(board.c.job_id > after)
    return _rows(connection.execute(page.order_by(board.c.job_id).limit(limit)))


def _rows(result: Any) -> Sequence[sa.Row[Any]]:
    """The rows, by column name: what types SQLAlchemy 2.0 and 2.1 give them differs."""
    rows: Sequence[sa.Row[Any]] = result.all()
    return rows


def lock(connection: Connection, database: Database, job_ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Lock the rows of these jobs, in the order of their ids, as every step over given jobs does; with the time.

    MySQL and MariaDB lock rows as they read them, in the order of the index that they read. It is named, since of a
    small board they would read all rows, and wait for those of others, which then wait for theirs.
    """
    return _rows(connection.execute(_lock(database.dialect), {"job_ids": list(job_ids)}))


@functools.cache
def _lock(dialect: str) -> sa.Select[Any]:
    return (
        sa.select(
            board.c.place,
            board.c.job_id,
            board.c.class_key,
            board.c.status,
            board.c.due_ms,
            board.c.owner,
            now_ms_of(dialect).label("now_ms"),
        )
        .where(board.c.job_id.in_(sa.bindparam("job_ids", expanding=True)))
        .order_by(board.c.job_id)
        .with_for_update()
        .with_hint(board, "FORCE INDEX (job_id)", "mysql")
    )


def promote(connection: Connection, now_ms: int) -> tuple[set[str], bool]:
    """Put into line what is due; the classes that have work now, and whether more may be due."""
    keys: set[str] = set()
    more = False
    for status in (CLAIMED, DELAYED):
        rows = connection.execute(_lock_due(status), {"now_ms": now_ms}).all()
        update(connection, [row.place for row in rows], status=WAITING, due_ms=now_ms, owner=None)
        keys.update(row.class_key for row in rows)
        more = more or len(rows) == PROMOTED_AT_ONCE
    return keys, more


@functools.cache
def _lock_due(status: str) -> sa.Select[Any]:
    return (
        sa.select(board.c.place, board.c.class_key)
        .where(is_now(status), board.c.due_ms <= sa.bindparam("now_ms", type_=board.c.due_ms.type))
        .order_by(board.c.due_ms)
        .limit(PROMOTED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )


def update(connection: Connection, places: Sequence[int], **values: Any) -> None:
    """Write to rows that this transaction has locked."""
    new = {f"new_{name}": value for name, value in values.items()}
    for page in pages(places):
        connection.execute(_update(tuple(values)), {"places": page, **new})


@functools.cache
def _update(names: tuple[str, ...]) -> sa.Update:
    values = {name: sa.bindparam(f"new_{name}", type_=board.c[name].type) for name in names}
    return sa.update(board).where(_THESE_PLACES).values(values)


def delete(connection: Connection, places: Sequence[int]) -> None:
    """Delete rows that this transaction has locked."""
    for page in pages(places):
        connection.execute(_DELETE, {"places": page})


_THESE_PLACES = board.c.place.in_(sa.bindparam("places", expanding=True))
_DELETE = sa.delete(board).where(_THESE_PLACES)


def promote_and_tell(connection: Connection, database: Database) -> bool:
    """Put into line what is due, in a transaction of its own; whether more may be due."""
    keys, more = promote(connection, pulse(connection, database).now_ms)
    tell(connection, database, keys)
    return more


def tell(
    connection: Connection, database: Database, keys: Collection[str], due_in_ms: int | None = None
) -> None:
    """Wake those who listen, when this transaction commits; PostgreSQL only, the others look for themselves.

    :param due_in_ms: when something is due earlier than the listeners know
    """
    if database.dialect != "postgresql":
        return
    words = [f"+{key}" for key in sorted(keys)] + ([] if due_in_ms is None else [f"~{due_in_ms}"])
    for word in words:
        connection.execute(_NOTIFY, {"word": word})


_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("word", type_=sa.String)))
