"""``python -m tests.chaos.mutants.interleaving FILE``: the one schedule in which a subquery does not fence, forced.

A former owner's write compares the epoch, then waits for the atom's row, which somebody else has locked. Meanwhile a
claimer raises the epoch; the row is let go. With the lock of the journal the claimer waits behind the write; without it
the write comes after the claim. Chaos would have to stop a server within one statement to see that. Real servers, the
real journal, and the checker of every other run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from jobrunner.errors import LeaseLost
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails
from tests.chaos import history
from tests.chaos.case import Case
from tests.chaos.checker import Tally, check_all
from tests.chaos.mutants.broken import broken
from tests.support.journals import Recorded, Stage, staged, until
from tests.support.servers import MariaDbServer, PostgresServer, ServerRun

SERVERS: dict[str, type[MariaDbServer | PostgresServer]] = {
    "mariadb": MariaDbServer,
    "postgresql": PostgresServer,
}
WAITING = {
    # Of all statements in this database, those that have run for so long while anybody waits for a row.
    "mysql": "SELECT COUNT(*) FROM information_schema.processlist p JOIN information_schema.global_status s "
    "ON s.variable_name = 'Innodb_row_lock_current_waits' AND s.variable_value > 0 "
    "WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID() AND p.info IS NOT NULL AND p.time_ms > 100",
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock'",
}


def forced(server: MariaDbServer | PostgresServer, mutant: str | None) -> list[Tally]:
    """Let the write and the claim meet, with that mutant or with nothing broken; what the checker says of it."""
    url = server.create_database()
    name = urlsplit(url).path[1:]
    database = Database(url)
    upgrade(database)
    database.close()
    history.install(server, name)
    with broken(mutant), staged(url) as former, staged(url) as claimer:
        _meet(former, claimer)
    return check_all(Case(lease=1.0, history=history.read(server, name)))


def _meet(former: Stage, claimer: Stage) -> None:
    recorded = former.flow()
    recorded.start()
    recorded.journal.barrier()
    recorded.finish()
    with _atom_locked(claimer.database, recorded):
        writing = _in_thread(recorded.journal.barrier)
        until(lambda: _waits(claimer.database) == 1)
        claiming = _in_thread(lambda: claimer.usurp(recorded))
        until(lambda: not claiming.is_alive() or _waits(former.database) == 2)
    writing.join()
    claiming.join()


@contextlib.contextmanager
def _atom_locked(database: Database, recorded: Recorded) -> Iterator[None]:
    row = sa.select(atomdetails.c.uuid).where(atomdetails.c.parent_uuid == recorded.detail.uuid)
    with database.engine.connect() as connection:
        connection.execute(row.with_for_update())
        yield
        connection.rollback()


def _waits(database: Database) -> int:
    """How many wait for a row's lock."""
    with database.read() as connection:
        return int(connection.exec_driver_sql(WAITING[database.dialect]).scalar_one())


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(LeaseLost):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def main() -> None:
    """The schedule on each server, with the mutant or with nothing broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants.interleaving", description=__doc__)
    parser.add_argument("file", type=Path, help="where to write what was found")
    parser.add_argument("--mutant", choices=["unlocked_fence", "subquery_fence"])
    asked = parser.parse_args()
    run = ServerRun.open()
    try:
        found = {kind: forced(run.get(server), asked.mutant) for kind, server in SERVERS.items()}
    finally:
        run.close(tuple(SERVERS.values()))
    tallies = [asdict(tally) for each in found.values() for tally in each]
    missed = [kind for kind, each in found.items() if not any(tally.violations for tally in each)]
    asked.file.write_text(json.dumps({"invariants": tallies, "nothing_found_on": missed}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
