"""Properties as tags: which are, and finding jobs by them and by author."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.model import JobState, Posting
from jobrunner.persistence.posting.tagging import tags_of
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import JobFilter, Store
from jobrunner.persistence.tables import jobs, tags
from tests.support.journals import watched


def insert(store: Store, *postings: dict[str, Any]) -> list[str]:
    made = [Posting(**{"type": "t", **posting}) for posting in postings]
    return [job_id for job_id, _ in store.insert(made, now_ms=1_000)]


def found(store: Store, **wanted: Any) -> list[str]:
    """The ids of all pages of two jobs each."""
    ids: list[str] = []
    mark: int | None = None
    while True:
        page, mark, broken = store.page(JobFilter(**wanted), limit=2, before=mark)
        assert not broken
        ids += [job.id for job in page]
        if mark is None:
            return ids


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("web", "web"),
        ("a b", "a b"),
        ("Ä", "Ä"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        ("", None),
        (" padded", None),
        ("two\nlines", None),
        (None, None),
        (["a"], None),
        ({"a": 1}, None),
    ],
)
def test_plain_short_values_are_tags(store: Store, value: Any, tag: str | None) -> None:
    assert dict(tags_of({"name": value})) == ({} if tag is None else {"name": tag})
    [job_id] = insert(store, {"properties": {"name": value}})
    assert found(store, tags={"name": None}) == ([] if tag is None else [job_id])
    if tag is not None:
        assert found(store, tags={"name": tag}) == [job_id]
    assert store.get(job_id).properties == {"name": value}


def test_all_tags_must_hold_and_pages_are_newest_first(store: Store) -> None:
    web = {"team": "web", "env": "live"}
    ids = insert(
        store,
        *[{"properties": web, "author": "ann"}] * 5,
        {"properties": {"team": "web", "env": "test"}, "type": "other"},
        {"properties": {"team": "db"}},
        {},
    )
    assert found(store, tags={"team": "web"}) == ids[5::-1]
    assert found(store, tags={"env": "live", "team": "web"}) == ids[4::-1]
    assert found(store, tags={"env": None, "team": "web"}) == ids[5::-1]
    assert found(store, tags={"team": None}) == ids[6::-1]
    assert found(store, tags={"team": "Web"}) == []
    assert found(store, tags={"team": "web", "colour": None}) == []
    assert found(store, tags={"team": "web"}, types=["other"]) == [ids[5]]
    assert found(store, tags={"team": "web"}, author="ann") == ids[4::-1]
    with store.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == ids[2]).values(state="FAILED"))
    assert found(store, tags={"team": "web", "env": "live"}, states=[JobState.FAILED]) == [ids[2]]


def test_by_author(store: Store) -> None:
    ids = insert(store, *[{"author": "ann"}] * 3, {"author": "bob"}, {"author": "Ann"}, {})
    assert found(store, author="ann") == ids[2::-1]
    assert found(store, author="ann", states=[JobState.WAITING, JobState.RUNNING]) == ids[2::-1]
    assert found(store, author="bob", states=[JobState.WAITING, JobState.FAILED], types=["t"]) == [ids[3]]
    assert found(store, author="bob", states=[JobState.FAILED]) == []


def test_names_that_differ_in_blanks_only_do_no_harm(store: Store) -> None:
    [job_id] = insert(store, {"properties": {"a": "x", "a ": "x", " a": "x", "b": "y", "B": "y"}})
    assert found(store, tags={"a": "x", "b": "y", "B": "y"}) == [job_id]


def test_jobs_without_properties_pay_nothing(database: Database, store: Store) -> None:
    with watched(database.engine) as sent:
        insert(store, *[{}] * 3)
    plain = len(sent.statements)
    assert not sent.of("job_tags")
    with watched(database.engine) as sent:
        insert(store, {"properties": {"a": 1, "b": 2}}, {}, {})
    assert len(sent.statements) in (plain + 1, plain + 2)


def test_a_posting_that_finds_a_job_of_before_leaves_no_tags(database: Database, store: Store) -> None:
    first = insert(store, {"unique_key": "k"})
    assert insert(store, {"properties": {"a": 1}, "unique_key": "k"}) == first
    with database.read() as connection:
        assert connection.execute(sa.select(tags)).all() == []
