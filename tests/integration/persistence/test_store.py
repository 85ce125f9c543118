"""Posting, finding and paging through jobs; rows that cannot be read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.errors import (
    AmbiguousJobId,
    CorruptRow,
    DuplicateKey,
    JobNotFound,
    SchemaOutOfDate,
    UsageError,
    WrongState,
)
from jobrunner.model import CancelMode, JobState, Posting, Priority
from jobrunner.persistence.chains.jobsets import page_of_jobsets
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import request_cancel, retry
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import JobFilter, Store, board_entry
from jobrunner.persistence.tables import events, jobs, settings
from jobrunner.persistence.wishes import wishes
from tests.support.journals import NODE, OWNER, watched


def post(store: Store, number: int = 1, now_ms: int = 1_000, **posting: Any) -> list[str]:
    postings = [Posting(**{"type": "made_up", **posting}) for _ in range(number)]
    return [job_id for job_id, _ in store.insert(postings, now_ms=now_ms)]


def change(store: Store, job_id: str, **columns: Any) -> None:
    """As somebody with a SQL client would."""
    sets = ", ".join(f"{name} = :{name}" for name in columns)
    with store.database.write() as connection:
        connection.execute(sa.text(f"UPDATE jobs SET {sets} WHERE id = :this"), {"this": job_id, **columns})


def test_a_posting_comes_back_as_it_was(store: Store) -> None:
    posting = Posting(
        type="é😀",
        parameters={"text": "a'b\"c\\ü😀\n", "list": [1, 2.5, None], "0": {}},
        factory={"name": "m:f", "args": [1], "kwargs": {"x": "y"}},
        capabilities=("b", "a:1"),
        node="n1",
        priority=Priority.HIGH,
        idempotency_key="key",
        properties={"p": [1]},
        timeout=1.5,
        author="me",
    )
    ((job_id, new),) = store.insert([posting], now_ms=1_000)
    job = store.get(job_id)
    assert new
    assert (job.type, job.parameters, job.factory, job.properties) == (
        posting.type,
        posting.parameters,
        posting.factory,
        posting.properties,
    )
    assert (job.priority, job.timeout, job.author, job.idempotency_key) == (Priority.HIGH, 1.5, "me", "key")
    assert (job.job_class.capabilities, job.job_class.node) == (("a:1", "b"), "n1")
    assert (job.state, job.epoch, job.attempt, job.available_ms) == (JobState.WAITING, 0, 1, 1_000)
    later = store.get(post(store, available_ms=5_000)[0])
    assert (later.state, later.available_ms) == (JobState.SCHEDULED, 5_000)


def test_many_postings_are_one_transaction_in_their_order(store: Store) -> None:
    with watched(store.database.engine) as sent:
        ids = post(store, 1_200)
    assert sent.commits == 1
    assert len(sent.statements) == 2 * 3
    with store.database.read() as connection:
        stored = list(connection.execute(sa.select(jobs.c.id).order_by(jobs.c.seq)).scalars())
        told = connection.execute(sa.select(sa.func.count()).select_from(events)).scalar()
    assert stored == ids
    assert told == 1_200


# Idempotency keys


def test_a_key_finds_the_job_of_before(store: Store) -> None:
    posting = Posting(type="t", parameters={"a": [1], "b": 2}, idempotency_key="k")
    again = Posting(type="t", parameters={"b": 2, "a": [1]}, idempotency_key="k")
    ((first, new), (within, second)) = store.insert([posting, again], now_ms=1)
    assert (new, second, within) == (True, False, first)
    assert store.insert([again], now_ms=2) == [(first, False)]
    assert store.insert([Posting(type="t", idempotency_key="K")], now_ms=2)[0][1]


@pytest.mark.parametrize(
    "other",
    [
        Posting(type="u", parameters={"a": 1}, idempotency_key="k"),
        Posting(type="t", parameters={"a": 2}, idempotency_key="k"),
        Posting(type="t", parameters={"a": 1}, factory={"name": "f", "kwargs": {}}, idempotency_key="k"),
    ],
)
def test_a_key_used_for_something_else_is_refused_and_nothing_is_stored(store: Store, other: Posting) -> None:
    store.insert([Posting(type="t", parameters={"a": 1}, idempotency_key="k")], now_ms=1)
    with pytest.raises(DuplicateKey, match="'k' was used before"):
        store.insert([Posting(type="innocent"), other], now_ms=2)
    assert len(store.page(JobFilter())[0]) == 1


@pytest.mark.parametrize("key", ["k ", " k", "k\0", "k" * 256, "", "a\nb"])
def test_a_key_that_cannot_be_kept_is_refused(store: Store, key: str) -> None:
    with pytest.raises(UsageError, match="cannot be kept"):
        store.insert([Posting(type="t", idempotency_key=key)], now_ms=1)


def test_two_that_use_a_key_in_the_same_moment_get_one_job(store: Store) -> None:
    for number in range(5):
        posting = Posting(type="t", idempotency_key=f"race-{number}")
        found: list[tuple[str, bool]] = []
        start = threading.Barrier(4)

        def insert(posting: Posting = posting, found: list = found, start: threading.Barrier = start) -> None:
            start.wait()
            found.extend(store.insert([posting], now_ms=1))

        threads = [threading.Thread(target=insert) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({job_id for job_id, _ in found}) == 1
        assert sorted(new for _, new in found) == [False, False, False, True]


# Finding


def test_jobs_are_found_by_the_start_of_their_ids(store: Store) -> None:
    first, second = post(store, 2)
    change(store, first, id="aaaa0000-0000-4000-8000-000000000001")
    change(store, second, id="aaaa1111-0000-4000-8000-000000000002")
    assert store.find("aaaa0").id == "aaaa0000-0000-4000-8000-000000000001"
    assert store.find(" AAAA1111-0000-4000-8000-000000000002 ").id.startswith("aaaa1")
    with pytest.raises(AmbiguousJobId, match=r"aaaa0000.*, aaaa1111"):
        store.find("aaaa")
    for wrong in ("bbbb", "", "%", "_aaa", "aaaa'"):
        with pytest.raises(JobNotFound):
            store.find(wrong)
    with pytest.raises(JobNotFound):
        store.get("aaaa0000")


# Pages


def test_pages_are_stable_while_jobs_come(store: Store) -> None:
    ids = post(store, 1_050)
    seen: list[str] = []
    mark: int | None = None
    while True:
        page, mark, broken = store.page(JobFilter(), limit=100, before=mark)
        seen += [job.id for job in page]
        assert broken == []
        post(store)
        if mark is None:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_no_rows_is_refused_in_words(store: Store, limit: int) -> None:
    post(store, 2)
    with pytest.raises(UsageError, match="cannot have"):
        store.page(JobFilter(), limit=limit)
    with pytest.raises(UsageError, match="cannot have"):
        page_of_jobsets(store.database, limit=limit)


@pytest.mark.parametrize("text", ["a\0", "\udcff"])
@pytest.mark.parametrize("part", ["types", "text", "author", "tags", "values"])
def test_a_text_that_no_job_can_have_is_refused_in_words(store: Store, part: str, text: str) -> None:
    asked: dict[str, Any] = {part: text}
    if part == "types":
        asked = {"types": [text]}
    elif part in ("tags", "values"):
        asked = {"tags": {text: None} if part == "tags" else {"a": text}}
    with pytest.raises(UsageError, match="not valid text"):
        store.page(JobFilter(**asked))


def test_a_page_is_filtered_by_everything_at_once(store: Store) -> None:
    waiting = post(store, 3, now_ms=1_000)
    others = post(store, 3, now_ms=2_000, type="other", parameters={"path": "/Müll/100%_x!"})
    for job_id in (waiting[0], others[0]):
        change(store, job_id, state="FAILED", error='{"kind": "E", "message": "Disk Full", "atom": null}')
    change(store, others[1], state="SUCCEEDED")

    def listed(**parts: Any) -> list[str]:
        return [job.id for job in store.page(JobFilter(**parts))[0]]

    failed, succeeded = JobState.FAILED, JobState.SUCCEEDED
    assert listed(states=[failed]) == [others[0], waiting[0]]
    assert listed(states=[failed, succeeded]) == [others[1], others[0], waiting[0]]
    assert listed(states=[failed, succeeded], types=["other", "made_up"]) == [
        others[1],
        others[0],
        waiting[0],
    ]
    assert listed(states=list(JobState), types=["other", *map(str, range(9))]) == others[::-1]
    assert listed(types=["other"]) == others[::-1]
    assert listed(types=["made_up"], states=[succeeded]) == []
    assert listed(since_ms=1_500) == others[::-1]
    assert listed(until_ms=1_500, states=[JobState.WAITING, failed]) == waiting[::-1]
    assert listed(text="disk full") == [others[0], waiting[0]]
    assert listed(text="Müll/100%_X!") == others[::-1]
    assert listed(text="100_") == []
    assert listed(text="OTHER", states=[failed, succeeded]) == [others[1], others[0]]


def test_pages_of_several_states_go_on_where_they_stopped(store: Store) -> None:
    ids = post(store, 30)
    for number, job_id in enumerate(ids):
        change(store, job_id, state=("FAILED", "REVERTED", "SUCCEEDED")[number % 3])
    wanted = JobFilter(states=[JobState.FAILED, JobState.REVERTED])
    seen: list[str] = []
    mark: int | None = None
    while True:
        page, mark, _ = store.page(wanted, limit=7, before=mark)
        seen += [job.id for job in page]
        if mark is None:
            break
    assert seen == [job_id for number, job_id in enumerate(ids) if number % 3 < 2][::-1]


def test_open_ids_are_those_of_all_open_jobs_that_are_not_parked_oldest_first(store: Store) -> None:
    ids = post(store, 25)
    for number, job_id in enumerate(ids):
        change(store, job_id, state=("SUCCEEDED", "WAITING", "RUNNING", "SUSPENDED", "SCHEDULED")[number % 5])
    for job_id in post(store, 5):
        change(store, job_id, state="BLOCKED", parked="after")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page, after = store.open_ids(after=after, limit=4)
        seen += page
    assert seen == [job_id for number, job_id in enumerate(ids) if number % 5]
    assert store.counts() == {state: 5 for state in JobState if not state.is_terminal}


def test_entries_are_of_jobs_that_are_for_the_board_now(store: Store) -> None:
    waiting, ended, parked = post(store, 3)
    change(store, ended, state="SUCCEEDED")
    change(store, parked, state="BLOCKED", parked="after")
    assert store.entries([waiting, ended, parked, "unknown"]) == [board_entry(store.get(waiting))]


def test_entries_of_more_jobs_than_are_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = post(store, 7)
    monkeypatch.setattr("jobrunner.persistence.store.ROWS_AT_ONCE", 3)
    in_order = [entry.job_id for entry in store.entries(sorted(ids))]
    assert in_order == ids  # as they were posted: else several who post them again dead-lock on a sql board
    assert store.entries([]) == []


# Rows that somebody broke


BROKEN: list[dict[str, Any]] = [
    {"parameters": "{not json"},
    {"parameters": "[1]"},
    {"state": "LOST"},
    {"capabilities": '"abc"'},
    {"priority": 77},
    {"cancel": "maybe"},
    {"error": "[1]"},
    {"result": "{"},
]


@pytest.mark.parametrize("columns", BROKEN, ids=lambda columns: next(iter(columns.items())).__repr__())
def test_a_broken_row_harms_itself_only(store: Store, columns: dict[str, Any]) -> None:
    before, broken, after = post(store, 3)
    change(store, broken, **columns)
    harms_itself_only(store, before, broken, after)


def test_a_number_that_is_none_harms_itself_only(sqlite_url: str) -> None:
    """Only SQLite keeps text in a column of numbers."""
    database = Database(sqlite_url)
    upgrade(database)
    store = Store(database)
    before, broken, after = post(store, 3)
    change(store, broken, epoch="first")
    harms_itself_only(store, before, broken, after)
    database.close()


def harms_itself_only(store: Store, before: str, broken: str, after: str) -> None:
    with pytest.raises(CorruptRow, match=broken) as caught:
        store.get(broken)
    assert "other jobs go on" in str(caught.value.hint)
    page, _, bad = store.page(JobFilter())
    assert [job.id for job in page] == [after, before]
    assert [error.message for error in bad] == [caught.value.message]
    assert set(store.get_many([before, broken, after])) == {before, after}
    assert {before, after} <= set(store.states([before, broken, after]))
    assert {before, after} == {entry.job_id for entry in store.entries([before, broken, after])}
    store.counts()
    begun = begin(store.database, [before, broken, after], owner=OWNER, node=NODE)
    assert ({job.id for job in begun.started}, begun.corrupt) == ({before, after}, [broken])
    request_cancel(store.database, after, CancelMode.KEEP)
    assert wishes(store.database, [OWNER]).cancel == {after: CancelMode.KEEP}


def test_a_broken_state_is_named_by_whoever_changes_the_job(store: Store) -> None:
    (job_id,) = post(store)
    change(store, job_id, state="LOST")
    for work in (
        lambda: request_cancel(store.database, job_id, CancelMode.KEEP),
        lambda: retry(store.database, job_id),
    ):
        with pytest.raises(CorruptRow, match="'LOST' is not a valid JobState"):
            work()


def test_a_broken_request_to_cancel_hides_no_other(store: Store) -> None:
    first, second = post(store, 2)
    begin(store.database, [first, second], owner=OWNER, node=NODE)
    request_cancel(store.database, first, CancelMode.REVERT)
    change(store, second, cancel="maybe")
    assert wishes(store.database, [OWNER]).cancel == {first: CancelMode.REVERT}


def test_a_broken_event_hides_no_other(store: Store) -> None:
    (job_id,) = post(store)
    begin(store.database, [job_id], owner=OWNER, node=NODE)
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE events SET data = '{' WHERE kind = 'posted'"))
    kinds = [(each["kind"], each["data"]) for each in store.history(job_id)]
    assert [kind for kind, _ in kinds] == ["posted", "claimed"]
    assert "not JSON" in kinds[0][1]["unreadable"]


def test_a_database_without_an_identity_says_so(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    upgrade(database)
    with database.write() as connection:
        connection.execute(settings.delete())
    with pytest.raises(SchemaOutOfDate, match="identity"):
        _ = Store(database).id
    database.close()


# Unique jobs


def unique(key: str = "u", **options: Any) -> Posting:
    return Posting(type="t", unique_key=key, **options)


def test_a_unique_job_is_the_open_one(store: Store) -> None:
    (first, new), (second, again) = store.insert([unique(), unique()], now_ms=1)
    assert (second, new, again) == (first, True, False)
    assert store.insert([unique(parameters={"a": 1}), unique("v")], now_ms=2)[0] == (first, False)
    assert store.get(first).unique_key == "u"


def test_a_unique_job_that_ended_makes_room(store: Store) -> None:
    ((first, _),) = store.insert([unique()], now_ms=1)
    request_cancel(store.database, first, CancelMode.KEEP)
    ((second, new),) = store.insert([unique()], now_ms=2)
    assert new
    with pytest.raises(WrongState, match="another job like it waits or runs"):
        retry(store.database, first)
    request_cancel(store.database, second, CancelMode.KEEP)
    assert retry(store.database, first).unique_key == "u"
    assert store.insert([unique()], now_ms=3) == [(first, False)]


def test_of_many_posters_at_once_exactly_one_is_first(store: Store) -> None:
    together = threading.Barrier(8)

    def post(number: int) -> list[tuple[str, bool]]:
        together.wait()
        return [store.insert([unique(f"u{n}")], now_ms=number)[0] for n in range(5)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(post, range(8)))
    for each in zip(*found, strict=True):
        assert len({job_id for job_id, _ in each}) == 1
        assert sum(new for _, new in each) == 1
