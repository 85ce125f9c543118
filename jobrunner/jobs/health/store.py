"""Is the database there, is it recent and upgraded, and does it keep what it confirms?"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from jobrunner.jobs.health.filesystem import filesystem_of, is_network
from jobrunner.jobs.health.finding import Finding, Health, Reporter, Subject
from jobrunner.jobs.health.settings import server_settings
from jobrunner.jobs.health.tables import look_at_tables
from jobrunner.persistence import nodes
from jobrunner.persistence.schema import SchemaState, foreign_tables, not_ours
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.server_version import ServerVersion, server_version

AREA = "store"
CLOCK_TOLERANCE_S = 1.0
SLOW_COMMIT_S = 0.25

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    database = subject.context.database
    if database.dialect == "sqlite":
        yield from _file(database.url.database)
        if subject.schema is SchemaState.ABSENT:
            yield _new_file(database)
            return
    with database.read() as connection:  # raises StoreUnavailable, which says it all
        yield version_finding(server_version(connection))
        yield from server_settings(connection, report)
    if database.dialect == "postgresql":
        yield from sessions_findings(*_sessions_of_two(database))
    yield from _schema(subject)
    yield from _clock(database)
    if subject.schema is SchemaState.ABSENT:
        return
    tables = list(look_at_tables(database, report)) if subject.has_tables else []
    yield from tables
    if not any(finding.health is Health.ERROR for finding in tables):
        yield _commit(database)


def version_finding(version: ServerVersion) -> Finding:
    if version.is_too_old:
        return report.error(f"{version} is too old.", f"Upgrade it to {version.oldest} or later.")
    return report.ok(f"{version} answers.")


def _sessions_of_two(database: Database) -> tuple[int, int]:
    """The server's process ids for two connections that are open at once, asked one after the other."""
    asked = sa.select(sa.func.pg_backend_pid())
    with database.read() as one:
        first = int(one.execute(asked).scalar_one())
        one.rollback()
        with database.read() as other:
            return first, int(other.execute(asked).scalar_one())


def sessions_findings(first: int, second: int) -> Iterator[Finding]:
    """Connections that get the same session in turns are a pooler's, such as PgBouncer in transaction mode."""
    if first == second:
        yield report.error(
            "A pooler in front of it gives several connections the same session: bounds of time that are set for one "
            "hit others, a board in the database does not hear of new jobs, and db upgrade cannot hold its lock.",
            "Let persistence.url name PostgreSQL itself, or a pool in session mode (PgBouncer: pool_mode = session).",
        )


def _schema(subject: Subject) -> Iterator[Finding]:
    name = subject.context.database.name
    if subject.schema is SchemaState.CURRENT:
        yield report.ok("Its tables fit this version of jobrunner.")
    elif subject.schema is SchemaState.NEWER:
        yield report.warning(
            "Its tables were made by a later version of jobrunner; this one can go on for one release.",
            "Install the later version here as well.",
        )
    elif subject.schema is SchemaState.OLDER:
        yield report.error(
            f"The database {name} was made by an earlier version of jobrunner.",
            "Bring it up to date: jobrunner db upgrade",
            away=True,
        )
    elif (taken := _taken(subject.context.database)) is not None:
        yield taken
    else:
        yield report.error(
            f"The database {name} has no tables of jobrunner yet.",
            "Make them: jobrunner db upgrade",
            away=True,
        )


def _file(path: str | None) -> Iterator[Finding]:
    if path in (None, "", ":memory:"):
        yield report.error(
            "A SQLite database in memory is seen by one process only.", "Name a file: sqlite:///path"
        )
        return
    file = Path(str(path)).absolute()
    kind = filesystem_of(file)
    if kind is not None and is_network(kind):
        yield report.error(
            f"{file} is on a network file system ({kind}), where SQLite's locks do not hold.",
            "Move it to a local disk; for several machines use MariaDB, MySQL or PostgreSQL.",
        )


def _new_file(database: Database) -> Finding:
    """What becomes of a SQLite file that has no tables of ours, or is not there; it is not made here."""
    path = Path(str(database.url.database)).absolute()
    if path.exists() and (taken := _taken(database)) is not None:
        return taken
    place = path if path.exists() else next(above for above in path.parents if above.exists())
    if not os.access(place, os.W_OK) or not (place == path or place.is_dir()):
        return report.error(
            f"{path} cannot be made: {place} is no directory that this account may write.",
            "Let it, or name another file in persistence.url.",
        )
    return report.ok(f"{path} has no tables yet: they are made at its first use.")


def _taken(database: Database) -> Finding | None:
    """Another program's tables in the place of ours."""
    with database.read() as connection:
        tables = foreign_tables(connection)
    if not tables:
        return None
    error = not_ours(database.name, tables)
    return report.error(error.message, error.hint)


def _clock(database: Database) -> Iterator[Finding]:
    if database.dialect == "sqlite":
        return
    with database.read() as connection:
        connection.execute(
            sa.select(database.now_ms())
        ).scalar_one()  # the way is warm: the next takes one trip
        before = time.time()
        server = connection.execute(sa.select(database.now_ms())).scalar_one() / 1000
        after = time.time()
    yield clock_finding(server - (before + after) / 2, uncertain=(after - before) / 2)


def clock_finding(ahead: float, *, uncertain: float) -> Finding:
    """:param ahead: seconds by which the server's clock is ahead of this machine's, give or take ``uncertain``"""
    if abs(ahead) - uncertain <= CLOCK_TOLERANCE_S:
        return report.ok("Its clock and this machine's agree.")
    return report.warning(
        f"Its clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's.",
        "Let both follow the same time servers (chrony or systemd-timesyncd); until then the times shown, "
        "and when delayed jobs start, are off by as much.",
    )


def _commit(database: Database) -> Finding:
    """Write something that nobody looks at, and take it away again."""
    name = f"doctor-{uuid.uuid4()}"
    began = time.monotonic()
    nodes.take_lease(database, name, name, seconds=1)
    took = time.monotonic() - began
    nodes.give_lease(database, name, name)
    if took > SLOW_COMMIT_S:
        return report.warning(
            f"A commit took {took * 1000:.0f} ms.", "Each atom of a job waits for one: look at its disk."
        )
    return report.ok(f"It can be written to; a commit took {took * 1000:.1f} ms.")
