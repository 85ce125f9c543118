"""Signals in SQL, on each database: kept, in order, each once; and who is woken by them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow.persistence import models

from jobrunner.errors import DuplicateKey, JobNotFound, TooManySignals, WrongState
from jobrunner.model import CancelMode, Job, JobState, Parked, Posting, new_job_id
from jobrunner.persistence import signals
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.ownership import adoption, beginning, holding, ownership
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import signals as table

HOUR_MS = 3_600_000


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    found = Database(store_url)
    upgrade(found)
    yield found
    found.close()


def post(database: Database) -> str:
    posting = Posting(type="any")
    return Store(database).insert([posting], now_ms=time.time_ns() // 1_000_000)[0][0]


def begin(database: Database, job_id: str, owner: str = "node:1:test") -> Job:
    (job,) = beginning.begin(database, [job_id], owner=owner, node="node").started
    return job


def waiting(database: Database, *, awaits: str | None = "go", until_ms: int | None = None) -> str:
    """A job that waits for a signal, for ever or until then; its id."""
    job = begin(database, post(database))
    parked = Parked.SIGNAL if until_ms is None else None
    settlement = Settlement(state=JobState.SUSPENDED, parked=parked, awaits=awaits, available_ms=until_ms)
    ownership.hand_back(database, job, settlement)
    return job.id


def job_of(database: Database, job_id: str) -> Job:
    return Store(database).get(job_id)


def test_a_signal_is_kept_with_all_that_came_with_it(database: Database) -> None:
    job_id = post(database)
    data = {"by": "Ada", "é": ["漢", None, 1.5], "big": 2**53}
    sent = signals.send(database, job_id, "go", data, author="ada")
    assert (sent.new, sent.state, sent.woken) == (True, JobState.WAITING, None)
    (kept,) = signals.pending(database, job_id)
    assert (kept["name"], kept["data"], kept["author"]) == ("go", data, "ada")
    found = signals.first_untaken(database, job_id, "go", but=())
    assert found is not None
    assert found.data == data
    assert [event["kind"] for event in Store(database).history(job_id)] == ["posted", "signalled"]


def test_names_are_told_apart_and_order_is_kept(database: Database) -> None:
    job_id, other = post(database), post(database)
    for name, data in (("go", 1), ("Go", 2), ("go", 3)):
        signals.send(database, job_id, name, data)
    signals.send(database, other, "go", 9)
    first = signals.first_untaken(database, job_id, "go", but=())
    assert first is not None
    second = signals.first_untaken(database, job_id, "go", but=[first.seq])
    assert second is not None
    assert (first.data, second.data) == (1, 3)
    assert signals.first_untaken(database, job_id, "go", but=[first.seq, second.seq]) is None
    assert signals.get(database, job_id, first.seq).data == 1


def test_the_same_key_sends_once(database: Database) -> None:
    job_id, other = post(database), post(database)
    assert signals.send(database, job_id, "go", {"a": 1}, key="k").new
    assert not signals.send(database, job_id, "go", {"a": 1}, key="k").new
    assert signals.send(database, other, "go", {"a": 2}, key="k").new
    with pytest.raises(DuplicateKey, match="'k' was used before"):
        signals.send(database, job_id, "go", {"a": 2}, key="k")
    assert len(signals.pending(database, job_id)) == 1


def test_the_same_key_at_once_sends_once(database: Database) -> None:
    job_id = post(database)
    with futures.ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: signals.send(database, job_id, "go", 1, key="k").new, range(8)))
    assert sorted(sent) == [False] * 7 + [True]


def test_what_is_parked_for_the_signal_is_woken_and_nothing_else(database: Database) -> None:
    job_id, deaf = waiting(database, awaits="a,go"), waiting(database, awaits="golf")
    woken = signals.send(database, job_id, "go", 1).woken
    assert woken is not None
    assert (woken.id, woken.state, woken.parked) == (job_id, JobState.SUSPENDED, None)
    assert job_of(database, job_id).parked is None
    assert signals.send(database, deaf, "go", 1).woken is None
    assert job_of(database, deaf).parked is Parked.SIGNAL
    taken = begin(database, job_id)
    assert (taken.awaits, job_of(database, job_id).awaits) == (None, None)


def test_a_wait_with_a_time_limit_is_over_at_once(database: Database) -> None:
    now_ms = time.time_ns() // 1_000_000
    job_id = waiting(database, until_ms=now_ms + HOUR_MS)
    assert signals.send(database, job_id, "other", 1).woken is None
    assert job_of(database, job_id).available_ms == now_ms + HOUR_MS
    woken = signals.send(database, job_id, "go", 1).woken
    assert woken is not None
    assert woken.available_ms == job_of(database, job_id).available_ms < now_ms + HOUR_MS


def test_what_awaits_more_than_its_row_can_name_is_woken_by_any(database: Database) -> None:
    awaits = signals.awaits_of([f"signal-{number:03}" for number in range(100)])
    assert awaits == signals.ANY
    assert signals.send(database, waiting(database, awaits=awaits), "signal-007", 1).woken is not None


@pytest.mark.parametrize("until_ms", [None, 253_402_300_799_000])
def test_whoever_a_person_suspended_stays_so_and_finds_the_signal_later(
    database: Database, until_ms: int | None
) -> None:
    job_id = waiting(database, until_ms=until_ms)
    holding.suspend(database, job_id)
    assert signals.send(database, job_id, "go", 1).woken is None
    assert job_of(database, job_id).parked is Parked.HELD
    assert wake_all(database) == []
    resumed, _ = holding.resume(database, job_id)
    assert resumed.awaits == "go"
    (woken,) = signals.wake_signalled(database, [job_id])
    assert (woken.id, woken.parked) == (job_id, None)
    assert woken.available_ms <= time.time() * 1000
    assert begin(database, job_id).id == job_id


def test_whoever_waits_on_after_being_suspended_is_woken_by_the_signal(database: Database) -> None:
    job_id = waiting(database)
    holding.suspend(database, job_id)
    assert holding.resume(database, job_id)[0].parked is Parked.SIGNAL
    assert signals.send(database, job_id, "go", 1).woken is not None


def test_ended_jobs_get_no_signals(database: Database) -> None:
    job_id = post(database)
    ownership.request_cancel(database, job_id, CancelMode.KEEP)
    with pytest.raises(WrongState, match="has ended already: CANCELLED"):
        signals.send(database, job_id, "go", 1)
    with pytest.raises(JobNotFound):
        signals.send(database, new_job_id(), "go", 1)
    assert signals.pending(database, job_id) == []


def test_there_is_a_limit_to_signals_that_nobody_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PENDING_LIMIT", 2)
    job_id = post(database)
    signals.send(database, job_id, "a", 1)
    signals.send(database, job_id, "b", 1, key="k")
    with pytest.raises(TooManySignals, match="2 signals wait"):
        signals.send(database, job_id, "c", 1)
    assert not signals.send(database, job_id, "b", 1, key="k").new  # that one is there
    with database.write() as connection:
        connection.execute(table.update().values(taken_ms=1))
    assert signals.send(database, job_id, "c", 1).new


def wake_all(database: Database) -> list[Job]:
    return [job for page in signals.wake_all_signalled(database) for job in page]


def test_the_leader_finds_whom_nobody_woke(database: Database) -> None:
    """A signal that came before its job was settled, and one whose sender died before the board heard of it."""
    early = begin(database, post(database))
    signals.send(database, early.id, "go", 1)
    settlement = Settlement(state=JobState.SUSPENDED, parked=Parked.SIGNAL, awaits="go")
    ownership.hand_back(database, early, settlement)
    unheard = waiting(database, until_ms=time.time_ns() // 1_000_000 + HOUR_MS)
    signals.send(database, unheard, "go", 1)
    waiting(database)
    signals.send(database, waiting(database), "other", 1)
    woken = wake_all(database)
    assert {job.id for job in woken} == {early.id, unheard}
    assert all(job.parked is None and job.available_ms <= time.time() * 1000 for job in woken)
    assert signals.wake_signalled(database, [unheard])  # until it is claimed it may be that nobody heard
    for job in woken:
        begin(database, job.id)
    assert wake_all(database) == []


def test_the_leader_looks_at_a_page_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PAGE", 2)
    signalled = {waiting(database) for _ in range(5)}
    for job_id in signalled:
        signals.send(database, job_id, "go", 1)
    quiet = {waiting(database) for _ in range(3)}
    pages = list(signals.wake_all_signalled(database))
    assert max(map(len, pages)) <= 2
    found = [job.id for page in pages for job in page]
    assert sorted(found) == sorted(signalled)
    assert quiet.isdisjoint(found)


def test_a_signal_and_a_settlement_at_once_lose_nothing(database: Database) -> None:
    """Whichever comes first: the job is not parked with its signal there and nobody to look after that."""
    for _ in range(20):
        job = begin(database, post(database))
        settlement = Settlement(state=JobState.SUSPENDED, parked=Parked.SIGNAL, awaits="go")
        start = threading.Barrier(2)

        def settle(job: Job = job, settlement: Settlement = settlement, start: Any = start) -> bool:
            start.wait()
            ownership.hand_back(database, job, settlement)
            return bool(signals.wake_signalled(database, [job.id]))

        def send(job: Job = job, start: Any = start) -> bool:
            start.wait()
            return signals.send(database, job.id, "go", 1).woken is not None

        with futures.ThreadPoolExecutor(2) as pool:
            looked, woke = pool.submit(settle), pool.submit(send)
            assert looked.result() or woke.result()
        assert job_of(database, job.id).parked is None


def test_a_signal_is_taken_in_the_transaction_that_says_by_whom(database: Database) -> None:
    job_id = post(database)
    signals.send(database, job_id, "go", 1)
    signals.send(database, job_id, "go", 2)
    job = begin(database, job_id)
    detail = models.FlowDetail("f", job.flow_id)
    atom = models.TaskDetail("a", "00000000-0000-0000-0000-00000000000a")
    detail.add(atom)
    writer = Writer(database, patience=10.0)
    fence = Fence(job_id=job_id, epoch=job.epoch, attempt=1, owner="node:1:test", node="node")
    book = {"uuid": job_id, "name": "any", "meta": "{}"}
    flow = FlowJournal(writer, detail, book_id=job_id, book=book, fence=fence)
    writer.start()
    try:
        found = signals.first_untaken(database, job_id, "go", but=())
        assert found is not None
        flow.take_with(atom.uuid, found.seq)
        flow.barrier()
        assert [one["data"] for one in signals.pending(database, job_id)] == [1, 2]  # nobody said by whom
        atom.meta = {"took": found.seq}
        flow.record_atom(atom)
        flow.barrier()
        assert [one["data"] for one in signals.pending(database, job_id)] == [2]
        _lose(database, job_id)
        flow.take_with(atom.uuid, found.seq + 1)
        atom.meta = {"took": found.seq + 1}
        flow.record_atom(atom)
        with pytest.raises(Exception, match="lease was lost"):
            flow.barrier()
    finally:
        writer.stop()
    assert [one["data"] for one in signals.pending(database, job_id)] == [2]


def _lose(database: Database, job_id: str) -> None:
    begin(database, job_id, owner="other:1:test")


def test_adopting_is_for_half_done_jobs(database: Database) -> None:
    fresh = post(database)
    with pytest.raises(WrongState, match="was not begun"):
        adoption.allow_other_code(database, fresh)
    running = begin(database, post(database))
    with pytest.raises(WrongState, match="runs, so its code fits"):
        adoption.allow_other_code(database, running.id)
    later_ms = time.time_ns() // 1_000_000 + HOUR_MS
    note = Settlement(state=JobState.SUSPENDED, note="other code", available_ms=later_ms)
    ownership.hand_back(database, running, note)
    job = adoption.allow_other_code(database, running.id)
    assert job == job_of(database, running.id)
    assert (job.adopted, job.note) == (True, None)
    assert job.available_ms < later_ms
    assert adoption.allow_other_code(database, running.id).adopted
    taken = begin(database, running.id)
    assert taken.adopted
    adoption.adopted(database, taken)
    assert not job_of(database, running.id).adopted
    ownership.hand_back(database, taken, Settlement(state=JobState.SUCCEEDED))
    with pytest.raises(WrongState, match="has ended already"):
        adoption.allow_other_code(database, running.id)


def test_adopting_a_job_that_waits_for_a_signal_does_not_wake_it(database: Database) -> None:
    job_id = waiting(database)
    job = adoption.allow_other_code(database, job_id)
    assert (job.parked, job.awaits, job.adopted) == (Parked.SIGNAL, "go", True)


def test_cancelling_what_waits_lets_the_next_owner_have_it_now(database: Database) -> None:
    until_ms = time.time_ns() // 1_000_000 + HOUR_MS
    ids = [waiting(database), waiting(database, until_ms=until_ms)]
    for job_id in ids:
        _pretend_something_was_done(database, job_id)
        assert ownership.request_cancel(database, job_id, CancelMode.REVERT)[0] is JobState.SUSPENDED
        job = job_of(database, job_id)
        assert (job.parked, job.cancel) == (None, CancelMode.REVERT)
        assert job.available_ms < until_ms


def _pretend_something_was_done(database: Database, job_id: str) -> None:
    flow = job_of(database, job_id).flow_id
    with database.write() as connection:
        connection.execute(sa.text(f"INSERT INTO logbooks (uuid, name) VALUES ('{job_id}', 'b')"))
        connection.execute(
            sa.text(f"INSERT INTO flowdetails (uuid, parent_uuid, name) VALUES ('{flow}', '{job_id}', 'f')")
        )
        connection.execute(
            sa.text(
                "INSERT INTO atomdetails (uuid, parent_uuid, name, state, atom_type) "
                f"VALUES ('{new_job_id()}', '{flow}', 'a', 'SUCCESS', 'TASK_DETAIL')"
            )
        )
