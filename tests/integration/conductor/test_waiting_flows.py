"""Flows that wait for a time or a signal: what is suspended, what goes on, what each signal is taken for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import engines, retry
from taskflow.patterns import linear_flow, unordered_flow

from jobrunner import Sleep, WaitForSignal, sleep, times, wait_for_signal
from jobrunner.errors import StoreUnavailable
from jobrunner.model import CancelMode, Job, JobState, Parked
from jobrunner.persistence import signals
from jobrunner.persistence.journal.backend import JournalBackend
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.ownership import ownership
from jobrunner.persistence.tables import jobs
from jobrunner.stopping import StopSignal
from jobrunner.waits import signals_given
from tests.support.runs import Calls, Note, Runs, raises

ENGINES = pytest.mark.parametrize("engine", ["serial", "parallel"])
SOON_S = 0.15


def send(runs: Runs, job_id: str, name: str, data: Any = None) -> signals.Sent:
    return signals.send(runs.database, job_id, name, data)


def pending(runs: Runs, job_id: str) -> list[Any]:
    return [signal["data"] for signal in signals.pending(runs.database, job_id)]


def waits_for(job: Job, name: str | None) -> bool:
    return (job.state, job.parked, job.awaits, job.owner) == (JobState.SUSPENDED, Parked.SIGNAL, name, None)


def approval(calls: Calls, **options: Any) -> Callable[[], Any]:
    def flow() -> Any:
        wait = WaitForSignal("approve", provides="word", **options)
        return linear_flow.Flow("f").add(Note("a", calls), wait, Note("z", calls))

    return flow


@ENGINES
def test_a_job_that_waits_for_a_signal_is_parked_and_goes_on_with_it(runs: Runs, engine: str) -> None:
    calls: Calls = []
    job_id = runs.post(approval(calls), engine=engine)
    assert waits_for(runs.run(job_id), "approve")
    assert runs.states(job_id) == {"a": "SUCCESS", "wait for approve": "RUNNING", "z": "PENDING"}
    assert runs.flow_state(job_id) == "SUSPENDED"
    assert send(runs, job_id, "other").woken is None
    assert waits_for(runs.store.get(job_id), "approve")
    woken = send(runs, job_id, "approve", {"by": "Ada"}).woken
    assert woken is not None
    assert (woken.id, woken.parked) == (job_id, None)
    job = runs.run(job_id)
    assert (job.state, job.result, job.awaits) == (JobState.SUCCEEDED, {"word": {"by": "Ada"}}, None)
    assert calls == ["a", "z"]
    assert pending(runs, job_id) == [None]  # that which nobody asked for


@ENGINES
def test_what_does_not_wait_goes_on_first(runs: Runs, engine: str) -> None:
    calls: Calls = []

    def flow() -> Any:
        waiting = linear_flow.Flow("w").add(WaitForSignal("go"), Note("after", calls))
        beside = linear_flow.Flow("b").add(Note("b1", calls), Note("b2", calls))
        return unordered_flow.Flow("f").add(waiting, beside)

    job_id = runs.post(flow, engine=engine)
    assert waits_for(runs.run(job_id), "go")
    assert calls == ["b1", "b2"]
    send(runs, job_id, "go")
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["b1", "b2", "after"]


def test_signals_are_kept_and_taken_in_their_order_each_once(runs: Runs) -> None:
    def flow() -> Any:
        waits = [WaitForSignal("word", name=f"w{n}", provides=f"p{n}") for n in range(3)]
        return linear_flow.Flow("f").add(*waits)

    job_id = runs.post(flow)
    for data in ("one", "two"):
        assert send(runs, job_id, "word", data).woken is None  # it has not begun
    assert waits_for(runs.run(job_id), "word")
    assert runs.states(job_id) == {"w0": "SUCCESS", "w1": "SUCCESS", "w2": "RUNNING"}
    assert pending(runs, job_id) == []
    assert send(runs, job_id, "word", "three").woken is not None
    assert send(runs, job_id, "word", "four").woken is not None  # still waits, by the record
    assert runs.run(job_id).result == {"p0": "one", "p1": "two", "p2": "three"}
    assert pending(runs, job_id) == ["four"]


@ENGINES
def test_several_waits_at_once_wake_by_whatever_comes_first(runs: Runs, engine: str) -> None:
    def flow() -> Any:
        return unordered_flow.Flow("f").add(
            WaitForSignal("a", provides="pa"),
            WaitForSignal("b", provides="pb"),
            WaitForSignal("a", name="a2"),
        )

    job_id = runs.post(flow, engine=engine)
    assert waits_for(runs.run(job_id), "a,b")
    assert send(runs, job_id, "c").woken is None
    assert send(runs, job_id, "b", 2).woken is not None
    assert waits_for(runs.run(job_id), "a")
    send(runs, job_id, "a", 1)
    assert waits_for(runs.run(job_id), "a")
    send(runs, job_id, "a", 1)
    assert runs.run(job_id).result == {"pa": 1, "pb": 2}


@ENGINES
def test_a_sleep_ends_at_the_time_that_was_set_first(runs: Runs, engine: str) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Sleep(SOON_S), Note("z", calls))

    job_id = runs.post(flow, engine=engine)
    began_ms = time.time_ns() // 1_000_000
    first = runs.run(job_id)
    assert (first.state, first.parked, first.awaits, first.note) == (JobState.SUSPENDED, None, None, None)
    assert first.available_ms - began_ms >= SOON_S * 1000
    assert runs.run(job_id).available_ms == first.available_ms  # too early: nothing is counted anew
    time.sleep(max(0.0, first.available_ms / 1000 - time.time()))
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a", "z"]
    assert runs.atoms(job_id)["sleep"].starts == 3


def test_a_wait_that_lasts_too_long_fails_its_task_for_good(runs: Runs) -> None:
    calls: Calls = []
    job_id = runs.post(approval(calls, timeout=SOON_S))
    job = runs.run(job_id)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, "approve")
    time.sleep(max(0.0, job.available_ms / 1000 - time.time()))
    job = runs.run(job_id)
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert (job.error.kind, job.error.atom) == ("SignalTimedOut", "wait for approve")
    assert calls == ["a", "-a"]


def test_a_wait_that_lasts_too_long_can_have_a_default(runs: Runs) -> None:
    job_id = runs.post(approval([], timeout="0s", default="nobody"))
    assert runs.run(job_id).result == {"word": "nobody"}


def test_a_signal_ends_a_wait_that_has_a_time_limit(runs: Runs) -> None:
    job_id = runs.post(approval([], timeout="1h"))
    job = runs.run(job_id)
    assert job.available_ms > time.time() * 1000 + 3_500_000
    woken = send(runs, job_id, "approve", "yes").woken
    assert woken is not None
    assert woken.available_ms <= time.time() * 1000
    assert runs.store.get(job_id).available_ms == woken.available_ms
    assert runs.run(job_id).result == {"word": "yes"}


def test_a_task_of_ones_own_finds_again_what_it_found(runs: Runs) -> None:
    found: list[tuple[Any, ...]] = []

    def talk() -> list[Any]:
        words = [wait_for_signal("word")]
        found.append(tuple(words))
        sleep(SOON_S)
        words.append(wait_for_signal("word"))
        found.append(tuple(words))
        words.append(wait_for_signal("last", timeout=0))
        return words

    calls: Calls = []
    job_id = runs.post(lambda: linear_flow.Flow("f").add(Note("talk", calls, does=talk, provides="words")))
    assert waits_for(runs.run(job_id), "word")
    send(runs, job_id, "word", 1)
    job = runs.run(job_id)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, None)
    send(runs, job_id, "word", 2)
    time.sleep(max(0.0, job.available_ms / 1000 - time.time()))
    send(runs, job_id, "last", 3)
    assert runs.run(job_id).result == {"words": [1, 2, 3]}
    assert found == [(1,), (1,), (1, 2)]
    assert calls == ["talk"] * 3


@ENGINES
def test_what_waits_beside_a_task_that_fails_is_undone_with_the_rest(runs: Runs, engine: str) -> None:
    calls: Calls = []

    def flow() -> Any:
        wait = Note("wait", calls, does=lambda: wait_for_signal("go"))
        both = unordered_flow.Flow("u").add(wait, Note("bad", calls, does=raises(ValueError("no"))))
        return linear_flow.Flow("f").add(Note("a", calls), both, Note("never", calls))

    job_id = runs.post(flow, engine=engine)
    job = runs.run(job_id)
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert (job.error.kind, job.error.atom) == ("ValueError", "bad")
    assert sorted(calls[:3]) == ["a", "bad", "wait"]
    assert sorted(calls[3:5]) == ["-bad", "-wait"]
    assert calls[5:] == ["-a"]


@ENGINES
def test_each_turn_of_a_retry_waits_anew(runs: Runs, engine: str) -> None:
    seen: list[Any] = []

    def once_bad() -> None:
        if len(seen) < 2:
            raise ValueError("the first word is never right")

    def flow() -> Any:
        wait = Note("wait", [], does=lambda: seen.append(wait_for_signal("word")))
        nap = Sleep(SOON_S)
        return linear_flow.Flow("f", retry=retry.Times(2, "tries")).add(
            wait, nap, Note("judge", [], does=once_bad)
        )

    job_id = runs.post(flow, engine=engine)
    send(runs, job_id, "word", "first")
    job = runs.run(job_id)
    time.sleep(max(0.0, job.available_ms / 1000 - time.time()))
    assert waits_for(runs.run(job_id), "word")
    send(runs, job_id, "word", "second")
    job = runs.run(job_id)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, None)
    assert job.available_ms > time.time() * 1000  # it sleeps once more
    time.sleep(max(0.0, job.available_ms / 1000 - time.time()))
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert seen == ["first", "second"]


@ENGINES
def test_a_retry_around_a_wait_and_a_failing_task_tries_again(runs: Runs, engine: str) -> None:
    tries: list[int] = []

    def fails_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")

    def flow() -> Any:
        both = unordered_flow.Flow("u", retry=retry.Times(2, "tries"))
        return both.add(WaitForSignal("go"), Note("flaky", [], does=fails_once))

    job_id = runs.post(flow, engine=engine)
    assert waits_for(runs.run(job_id), "go")
    assert len(tries) == 2
    send(runs, job_id, "go")
    assert runs.run(job_id).state is JobState.SUCCEEDED


def test_cancelling_a_waiting_job_undoes_it_at_once(runs: Runs) -> None:
    calls: Calls = []
    job_id = runs.post(approval(calls))
    runs.run(job_id)
    assert runs.cancel(job_id) is JobState.SUSPENDED
    job = runs.store.get(job_id)
    assert (job.parked, job.cancel) == (None, CancelMode.REVERT)
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == ["a", "-a"]


def test_cancelling_a_waiting_job_can_keep_what_was_done(runs: Runs) -> None:
    job_id = runs.post(approval([]))
    runs.run(job_id)
    assert runs.cancel(job_id, CancelMode.KEEP) is JobState.CANCELLED
    job = runs.store.get(job_id)
    assert (job.parked, job.awaits) == (None, None)


def test_the_time_limit_of_a_job_counts_while_it_waits(runs: Runs) -> None:
    calls: Calls = []
    job_id = runs.post(approval(calls), timeout=0.2)
    job = runs.run(job_id)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, "approve")
    assert job.started_ms is not None
    assert 200 <= job.available_ms - job.started_ms < 300
    time.sleep(max(0.0, job.available_ms / 1000 - time.time()))
    taken, _ = runs.begin(job_id)
    held = runs.held(taken)
    assert held.time_is_up(held.started)
    held.stop.set("timeout")  # as whoever holds the job does then
    runs.run_owned(taken, held.stop, fresh=False)
    assert runs.store.get(job_id).state is JobState.TIMED_OUT
    assert calls == ["a", "-a"]


def test_a_conductor_that_leaves_does_not_park_what_could_go_on(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        leaving = Note("leaving", calls, does=lambda: stop.set("suspend"))
        return unordered_flow.Flow("f").add(WaitForSignal("go"), leaving, Note("beside", calls))

    job_id = runs.post(flow)
    job = runs.run(job_id, stop)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, None)
    assert waits_for(runs.run(job_id), "go")
    assert sorted(calls) == ["beside", "leaving"]


def test_a_signal_that_comes_after_the_look_is_found_after_the_settlement(runs: Runs) -> None:
    sent: list[signals.Sent] = []

    def asks_and_is_answered_late() -> Any:
        try:
            return wait_for_signal("go")
        except BaseException:  # the task has looked in vain; its job is not settled yet
            if not sent:
                sent.append(send(runs, job_id, "go", "late"))
            raise

    job_id = runs.post(
        lambda: linear_flow.Flow("f").add(Note("a", [], does=asks_and_is_answered_late, provides="word"))
    )
    assert waits_for(runs.run(job_id), "go")
    assert sent[0].woken is None
    (woken,) = signals.wake_signalled(runs.database, [job_id])
    assert (woken.id, woken.parked) == (job_id, None)
    assert runs.run(job_id).result == {"word": "late"}
    assert not any(signals.wake_all_signalled(runs.database))


@pytest.mark.parametrize("mode", list(CancelMode))
@pytest.mark.parametrize("within", [None, 3600.0])
def test_a_word_to_cancel_that_comes_while_the_wait_is_recorded_is_heard(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, mode: CancelMode, within: float | None
) -> None:
    calls: Calls = []
    settle_then = FlowJournal.settle_then

    def cancelled_before(journal: FlowJournal, *given: Any) -> None:
        assert runs.cancel(job_id, mode) is JobState.RUNNING
        settle_then(journal, *given)

    job_id = runs.post(approval(calls, timeout=within))
    with monkeypatch.context() as patch:
        patch.setattr(FlowJournal, "settle_then", cancelled_before)
        left = runs.run(job_id)
    assert (left.state, left.cancel, left.awaits) == (JobState.SUSPENDED, mode, "approve")
    assert [job.id for job in ownership.offer_cancelled(runs.database, [job_id])] == [job_id]
    assert not any(ownership.offer_all_cancelled(runs.database))  # by then it waits for its owner only
    assert runs.store.get(job_id).parked is None
    assert runs.store.get(job_id).available_ms <= times.now_ms()
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == (["a", "-a"] if mode is CancelMode.REVERT else ["a"])
    assert ownership.offer_cancelled(runs.database, [job_id]) == []


def test_the_leader_offers_all_that_were_left_to_wait_though_cancelled(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "OFFERED_AT_ONCE", 2)
    broken, fine = ([runs.post(lambda: approval([])) for _ in range(3)] for _ in range(2))
    left = {"state": "SUSPENDED", "parked": Parked.SIGNAL.value, "awaits": "approve", "cancel": "keep"}
    for ids, changed in ((broken, {**left, "parameters": "{"}), (fine, left)):
        statement = sa.update(jobs).where(jobs.c.id.in_(ids)).values(changed)
        runs.database.retrying(lambda connection, statement=statement: connection.execute(statement))
    offered = [job.id for page in ownership.offer_all_cancelled(runs.database) for job in page]
    assert sorted(offered) == sorted(fine)


def test_while_the_database_is_away_a_task_that_asks_waits_a_moment(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> Any:
        raise StoreUnavailable("away")

    job_id = runs.post(approval([]))
    send(runs, job_id, "approve", "yes")
    with monkeypatch.context() as patched:
        patched.setattr(signals, "first_untaken", away)
        job = runs.run(job_id)
    assert (job.state, job.parked, job.awaits) == (JobState.SUSPENDED, None, "approve")
    assert runs.run(job_id).result == {"word": "yes"}


def test_a_swallowed_wait_is_no_failure_of_the_task(runs: Runs) -> None:
    """What waits is no Exception: a task that handles errors does not go on without its signal."""

    def careful() -> Any:
        try:
            return wait_for_signal("go")
        except Exception:  # noqa: BLE001
            return "never"

    job_id = runs.post(lambda: linear_flow.Flow("f").add(Note("a", [], does=careful, provides="word")))
    assert waits_for(runs.run(job_id), "go")


def test_a_task_that_waits_too_often_fails_in_plain_words(runs: Runs) -> None:
    def restless() -> None:
        for _ in range(300):
            sleep(0)

    job_id = runs.post(lambda: linear_flow.Flow("f").add(Note("a", [], does=restless)))
    job = runs.run(job_id)
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert "waits for the 201st time" in job.error.message


def test_one_signal_is_never_taken_by_two_tasks_at_once(runs: Runs) -> None:
    together = threading.Barrier(4)

    def flow() -> Any:
        flow = unordered_flow.Flow("f")
        for number in range(4):
            flow.add(Note(f"t{number}", [], does=ask, provides=f"p{number}"))
        return flow

    def ask() -> Any:
        if not together.broken:
            together.wait(timeout=20)
        return wait_for_signal("word", timeout=0)

    job_id = runs.post(flow, engine="parallel")
    for data in range(4):
        send(runs, job_id, "word", data)
    found = runs.run(job_id).result
    assert sorted(found.values()) == [0, 1, 2, 3]


def test_taskflows_own_engine_goes_on_with_a_flow_that_waits(runs: Runs) -> None:
    """It blocks where jobrunner would suspend; a signal it has to be given."""
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(
            Note("a", calls), Sleep(SOON_S), WaitForSignal("go", provides="word"), Note("z", calls)
        )

    job_id = runs.post(flow)
    job = runs.run(job_id)
    assert runs.states(job_id) == {
        "a": "SUCCESS", "sleep": "RUNNING", "wait for go": "PENDING", "z": "PENDING",
    }  # fmt: skip
    backend = JournalBackend({"connection": f"jobrunner+{runs.database.url}"})
    try:
        book = backend.get_connection().get_logbook(job_id)
        detail = book.find(job.flow_id)
        engine = engines.load(flow(), flow_detail=detail, book=book, backend=backend)
        with signals_given(go="given"):
            engine.run()
    finally:
        backend.close()
    assert calls == ["a", "z"]
    assert runs.flow_state(job_id) == "SUCCESS"
    job = runs.run(job_id)
    assert (job.state, calls) == (JobState.SUCCEEDED, ["a", "z"])
    assert job.result == {"word": "given"}
