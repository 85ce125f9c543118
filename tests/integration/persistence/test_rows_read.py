"""What queries read of a table with 20,000 jobs, as MariaDB counts it: about what they show, not what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.model import JobState, Posting
from jobrunner.persistence.listing import COUNTED
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.retention import BATCH, Kind, Limit, kinds, prune
from jobrunner.persistence.row_locks import LOCKED_EPOCHS, lock_rows
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import JobFilter, Store
from jobrunner.persistence.tables import jobs
from jobrunner.persistence.wishes import wishes
from tests.support.journals import NODE, OWNER, watched
from tests.support.servers import MariaDbServer

pytestmark = pytest.mark.mariadb
JOBS, RUNNING = 20_000, 40


@pytest.fixture(scope="module")
def store(mariadb_server: MariaDbServer) -> Iterator[Store]:
    """18,000 jobs have ended, in two ways; of 2,000 that are open, 40 run; there are 20 types."""
    url = mariadb_server.create_database()
    database = Database(url + "?ssl_disabled=true", pool_size=1)
    upgrade(database)
    store = Store(database)
    store.insert([_posting(number) for number in range(JOBS)], now_ms=1_000)
    with database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.seq <= JOBS * 0.9).values(state="SUCCEEDED"))
        connection.execute(jobs.update().where(jobs.c.seq <= 10).values(state="FAILED"))
        connection.execute(jobs.update().where(jobs.c.seq > JOBS * 0.9).values(created_ms=2_000))
        newest = sa.select(jobs.c.id).order_by(jobs.c.seq.desc()).limit(RUNNING)
        ids = list(connection.execute(newest).scalars())
    begin(database, ids, owner=OWNER, node=NODE)
    with database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id.in_(ids[:3])).values(cancel="revert"))
        connection.execute(sa.text("ANALYZE TABLE jobs")).all()
    yield store
    database.close()
    mariadb_server.drop_database(url)


def _posting(number: int) -> Posting:
    """All have a tag; every 20th another, too, 10 a third, 4 of those before all others."""
    properties = {"all": "yes"} | ({"some": number % 3} if not number % 20 else {})
    properties |= {"few": "old" if number < JOBS // 2 else "new"} if number % 2_000 == 40 else {}
    return Posting(type=f"type-{number % 20}", properties=properties, author=f"author-{number % 50}")


def rows_read(store: Store, work: Callable[[], Any]) -> int:
    """How many rows of tables and indexes the server read for this; the pool's one connection does it all."""
    with store.database.engine.connect() as connection:
        connection.execute(sa.text("FLUSH STATUS"))
    work()
    query = sa.text("SHOW SESSION STATUS LIKE 'Handler_read%'")
    with store.database.engine.connect() as connection:
        return sum(int(value) for _, value in connection.execute(query))


def test_the_instrument_counts(store: Store) -> None:
    def read_all() -> None:
        with store.database.read() as connection:
            connection.execute(sa.select(jobs.c.note)).all()

    assert rows_read(store, read_all) >= JOBS


ENDED_BADLY = [JobState.FAILED, JobState.REVERTED, JobState.TIMED_OUT]
LISTS = {
    "all": JobFilter(),
    "running": JobFilter(states=[JobState.RUNNING]),
    "rare": JobFilter(states=[JobState.FAILED]),
    "ended badly": JobFilter(states=ENDED_BADLY),
    "every state": JobFilter(states=list(JobState)),
    "type": JobFilter(types=["type-7"]),
    "types": JobFilter(types=["type-7", "type-8"]),
    "no such type": JobFilter(types=["none"]),
    "state and type": JobFilter(states=[JobState.FAILED], types=["type-7"]),
    "states and types": JobFilter(states=ENDED_BADLY, types=["type-7", "type-8"]),
    "a common tag": JobFilter(tags={"all": "yes"}),
    "tag of any value": JobFilter(tags={"some": None}),
    "a rare tag of any value": JobFilter(tags={"few": None}),
    "tag and type": JobFilter(tags={"some": "1"}, types=["type-0"]),
    "no such tag": JobFilter(tags={"all": "no"}),
    "author": JobFilter(author="author-7"),
    "no such author": JobFilter(author="nobody"),
    "since": JobFilter(since_ms=2_000),
    "since never": JobFilter(since_ms=3_000),
}


@pytest.mark.parametrize("wanted", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("before", [None, JOBS // 2])
def test_a_page(store: Store, wanted: JobFilter, before: int | None) -> None:
    branches = max(1, len(wanted.states)) * max(1, len(wanted.types))
    if before is not None and wanted.since_ms == 2_000:
        pytest.skip("there is nothing older that was posted later")
    assert rows_read(store, lambda: store.page(wanted, limit=50, before=before)) <= 51 * (4 * branches + 2)


@pytest.mark.parametrize("names", [("few", "all"), ("all", "few"), ("all", "some", "few")])
def test_tags_that_all_hold_are_looked_for_by_the_rarest(store: Store, names: tuple[str, ...]) -> None:
    """Apart from counting which that is, which ends at COUNTED of each."""
    wanted = JobFilter(tags=dict.fromkeys(names), states=[JobState.SUCCEEDED])
    found = store.page(wanted, limit=50)[0]
    assert len(found) == 9
    assert rows_read(store, lambda: store.page(wanted, limit=50)) <= len(names) * COUNTED + 1_100 + 300


def test_what_pruning_reads_is_about_what_goes(store: Store) -> None:
    kind = Kind(state=JobState.SUCCEEDED, type="type-7")
    found: dict[str, int] = {}

    def look() -> None:
        limit = Limit(ended_before_ms=2_000, keep=850)
        found["going"] = prune(store.database, kind, [limit], dry_run=True).removed

    assert rows_read(store, look) <= 850 + 4 * 50 + 20
    assert found["going"] == 50 - 1, "one of the first ten has failed"
    assert rows_read(store, lambda: list(kinds(store.database))) <= 100
    young = Limit(ended_before_ms=500)
    assert rows_read(store, lambda: prune(store.database, kind, [young])) <= 3 * BATCH


def test_the_first_and_the_last_page_of_open_jobs(store: Store) -> None:
    for after in (0, JOBS - 600):
        assert rows_read(store, lambda after=after: store.open_ids(after=after, limit=500)) <= 500 * 6


def test_finding_getting_and_counting(store: Store) -> None:
    job = store.page(JobFilter(), limit=1)[0][0]
    assert rows_read(store, lambda: store.find(job.id[:12])) <= 10
    assert rows_read(store, lambda: store.get(job.id)) <= 5
    assert rows_read(store, lambda: store.get_many([job.id] * 3)) <= 10
    assert rows_read(store, store.counts) <= 2_100
    assert rows_read(store, lambda: store.history(job.id)) <= 10


def test_claims_and_requests_to_cancel(store: Store) -> None:
    found: dict[str, Any] = {}
    assert (
        rows_read(store, lambda: found.update(wishes(store.database, [OWNER, "other"], node=NODE).cancel))
        <= RUNNING + 14
    )
    assert len(found) == 3
    ids = [job.id for job in store.page(JobFilter(states=[JobState.WAITING]), limit=8)[0]]
    assert rows_read(store, lambda: begin(store.database, ids, owner=OWNER, node=NODE)) <= 8 * 6


def test_rows_are_locked_by_the_index_of_their_ids(store: Store) -> None:
    """Also where a table is so small that MariaDB would rather read, and lock, all of it."""
    with store.database.read() as connection:
        query = (
            sa.select(jobs.c.id).where(jobs.c.id.in_(["a", "b"])).with_hint(jobs, "FORCE INDEX (id)", "mysql")
        )
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        assert connection.execute(sa.text(f"EXPLAIN {text}")).mappings().one()["key"] == "id"
    with watched(store.database.engine) as sent:
        store.database.pipelined(lambda pipeline: lock_rows(pipeline, ["a"], LOCKED_EPOCHS))
    assert "FORCE INDEX (id)" in sent.statements[0][0]
