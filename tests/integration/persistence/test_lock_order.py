"""Whoever changes several jobs locks them in the order of their ids: two who lock in other orders can dead-lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.model import Posting
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.unowned import hand_back_of, note_waiting
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import jobs
from tests.support.journals import NODE, OWNER, now_ms, until

_WAITS = sa.text(
    "SELECT COUNT(*) FROM information_schema.PROCESSLIST "
    "WHERE db = DATABASE() AND command = 'Query' AND time_ms > 200 AND id != CONNECTION_ID()"
)
"""Somebody whose statement takes so long waits for a lock. InnoDB's own tables tell that to nobody who asks often."""


def locked(connection: sa.Connection, job_id: str) -> None:
    """Lock a job's row; fails at once if somebody has done so."""
    row = sa.select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(nowait=True)
    connection.execute(row.with_hint(jobs, "FORCE INDEX (id)", "mysql")).one()


def posted(store: Store) -> tuple[list[str], str, str]:
    """Running jobs; and of these two in the order of their ids, of which the second was posted first."""
    ids = [job_id for job_id, _ in store.insert([Posting(type="made_up")] * 20, now_ms=now_ms())]
    first, second = next(pair for pair in combinations(reversed(ids), 2) if pair == tuple(sorted(pair)))
    begin(store.database, ids, owner=OWNER, node=NODE)
    return ids, first, second


@pytest.mark.parametrize("ready_url", [pytest.param("mariadb", marks=pytest.mark.mariadb)], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda database, ids: hand_back_of(database, [OWNER]), id="hand_back_of"),
        pytest.param(lambda database, ids: note_waiting(database, ids, "Waits."), id="note_waiting"),
    ],
)
def test_jobs_are_locked_in_the_order_of_their_ids(
    database: Database, store: Store, change: Callable[[Database, Any], Any]
) -> None:
    ids, first, second = posted(store)
    changing = threading.Thread(target=change, args=(database, ids))
    with database.write() as connection:
        locked(connection, first)
        changing.start()
        with database.read() as another:
            until(lambda: another.execute(_WAITS).scalar())
        locked(connection, second)
    changing.join(10)
    assert not changing.is_alive()
