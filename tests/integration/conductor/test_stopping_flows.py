"""Flows that are asked to stop: suspended, resumed, cancelled, timed out; what each leaves done and undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

from jobrunner import stopping
from jobrunner.conductor.engine.engine import PARALLEL_LOOK_S
from jobrunner.model import CancelMode, JobState
from jobrunner.persistence.tables import jobs
from jobrunner.stopping import Stopped, StopReason, StopSignal
from tests.support.boards import until
from tests.support.runs import Calls, Note, Runs, raises

ENGINES = pytest.mark.parametrize("engine", ["serial", "parallel"])


def asks(stop: StopSignal, reason: StopReason, mode: CancelMode | None = None) -> Callable[[], Any]:
    """Something for a task to do: somebody asks the job to stop just then."""

    def do() -> str:
        stop.cancel_mode = mode
        stop.set(reason)
        return "stopped here"

    return do


def stops(stop: StopSignal, reason: StopReason) -> Callable[[], Any]:
    """The same, and the task ends early because of it."""

    def do() -> None:
        stop.set(reason)
        if stopping.wait_for_stop(10):
            raise Stopped

    return do


@ENGINES
def test_suspend_keeps_later_atoms_pending_and_a_resume_runs_only_those(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        middle = Note("b", calls, does=asks(stop, "suspend"))
        return linear_flow.Flow("f").add(Note("a", calls), middle, Note("c", calls), Note("d", calls))

    job_id = runs.post(flow, engine=engine)
    job = runs.run(job_id, stop)
    assert (job.state, job.owner, calls) == (JobState.SUSPENDED, None, ["a", "b"])
    assert runs.states(job_id) == {"a": "SUCCESS", "b": "SUCCESS", "c": "PENDING", "d": "PENDING"}
    assert runs.flow_state(job_id) == "SUSPENDED"
    job = runs.run(job_id)
    assert (job.state, calls) == (JobState.SUCCEEDED, ["a", "b", "c", "d"])
    assert {name: atom.starts for name, atom in runs.atoms(job_id).items()} == dict.fromkeys("abcd", 1)


@ENGINES
def test_of_atoms_that_could_all_start_those_that_did_not_stay_pending(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        tasks = [Note(f"t{i}", calls, does=asks(stop, "suspend")) for i in range(12)]
        return unordered_flow.Flow("f").add(*tasks)

    job_id = runs.post(flow, engine=engine)
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    ran = set(calls)
    assert 1 <= len(ran) <= 4
    assert runs.states(job_id) == {f"t{i}": "SUCCESS" if f"t{i}" in ran else "PENDING" for i in range(12)}
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert sorted(calls) == sorted(f"t{i}" for i in range(12))
    assert {atom.starts for atom in runs.atoms(job_id).values()} == {1}


@ENGINES
@pytest.mark.parametrize("before", [0, 1])
def test_a_task_that_stops_early_stays_running_and_runs_again(runs: Runs, engine: str, before: int) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        first = [Note("a", calls)] * before
        return linear_flow.Flow("f").add(*first, Note("b", calls, does=stops(stop, "suspend")))

    job_id = runs.post(flow, engine=engine)
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    assert runs.states(job_id)["b"] == "RUNNING"
    assert runs.flow_state(job_id) == "SUSPENDED"
    stopping_no_more = StopSignal()
    runs.register(runs.store.get(job_id).type, lambda: linear_flow.Flow("f").add(
        *[Note("a", calls)] * before, Note("b", calls)), engine=engine)  # fmt: skip
    assert runs.run(job_id, stopping_no_more).state is JobState.SUCCEEDED
    assert calls == ["a"] * before + ["b", "b"]
    assert runs.atoms(job_id)["b"].starts == 2


def test_stopped_without_having_been_asked_is_a_failure_like_any_other(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=raises(Stopped("why?"))))

    assert runs.run(runs.post(flow)).state is JobState.REVERTED
    assert calls == ["a", "b", "-b", "-a"]


def test_a_job_that_is_asked_before_it_starts_runs_nothing(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()
    stop.set("suspend")
    job_id = runs.post(lambda: linear_flow.Flow("f").add(Note("a", calls)))
    assert (runs.run(job_id, stop).state, calls) == (JobState.SUSPENDED, [])
    assert (runs.run(job_id).state, calls) == (JobState.SUCCEEDED, ["a"])


# Cancel


def linear(calls: Calls, does: Callable[[], Any]) -> Any:
    return linear_flow.Flow("f").add(
        Note("a", calls), Note("b", calls), Note("c", calls, does=does), Note("d", calls)
    )


def nested(calls: Calls, does: Callable[[], Any]) -> Any:
    inner = linear_flow.Flow("inner").add(Note("b", calls), Note("c", calls, does=does))
    return linear_flow.Flow("f").add(Note("a", calls), inner, Note("d", calls))


def graph(calls: Calls, does: Callable[[], Any]) -> Any:
    a, b = Note("a", calls, provides="x"), Note("b", calls, requires=["x"], provides="y")
    c, d = Note("c", calls, requires=["y"], provides="z", does=does), Note("d", calls, requires=["z"])
    return graph_flow.Flow("f").add(d, c, b, a)


@ENGINES
@pytest.mark.parametrize("shape", [linear, nested, graph])
def test_cancel_undoes_what_was_done_last_first(runs: Runs, shape: Callable[..., Any], engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: shape(calls, asks(stop, "cancel")), engine=engine)
    job = runs.run(job_id, stop)
    assert job.state is JobState.CANCELLED
    assert job.error is not None
    assert "undone" in job.error.message
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]
    assert runs.states(job_id) == {"a": "REVERTED", "b": "REVERTED", "c": "REVERTED", "d": "PENDING"}


@ENGINES
def test_cancel_undoes_an_unordered_flow(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        tasks = [Note(f"t{i}", calls, does=asks(stop, "cancel") if i == 2 else None) for i in range(5)]
        return linear_flow.Flow("f").add(unordered_flow.Flow("u").add(*tasks), Note("last", calls))

    job_id = runs.post(flow, engine=engine)
    assert runs.run(job_id, stop).state is JobState.CANCELLED
    done = {call for call in calls if not call.startswith("-")}
    assert {call[1:] for call in calls if call.startswith("-")} == done
    assert "t2" in done
    assert "last" not in done


@pytest.mark.parametrize(
    "make",
    [
        lambda: retry.AlwaysRevert("r"),
        lambda: retry.AlwaysRevertAll("r"),
        lambda: retry.Times(5, "r"),
        lambda: retry.ForEach([1, 2, 3], "r", provides="value"),
    ],
    ids=["AlwaysRevert", "AlwaysRevertAll", "Times", "ForEach"],
)
@pytest.mark.parametrize("inner", [False, True], ids=["outer", "inner"])
@ENGINES
def test_cancel_does_not_retry(runs: Runs, make: Callable[[], Any], inner: bool, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        tried = linear_flow.Flow("tried", retry=make()).add(
            Note("b", calls), Note("c", calls, does=asks(stop, "cancel")), Note("d", calls)
        )
        return linear_flow.Flow("f").add(Note("a", calls), tried, Note("e", calls)) if inner else tried

    job_id = runs.post(flow, engine=engine)
    job = runs.run(job_id, stop)
    assert job.state is JobState.CANCELLED
    a = ["a"] * inner
    assert calls == [*a, "b", "c", "-c", "-b", *[f"-{name}" for name in a]]


@ENGINES
def test_cancel_in_a_second_try_does_not_try_again(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()

    def fails_then_asks() -> None:
        if calls.count("b") == 1:
            raise ValueError("first try")
        asks(stop, "cancel")()

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(5, "r")).add(
            Note("a", calls), Note("b", calls, does=fails_then_asks), Note("c", calls)
        )

    job = runs.run(runs.post(flow, engine=engine), stop)
    assert job.state is JobState.CANCELLED
    assert calls == ["a", "b", "-b", "-a", "a", "b", "-b", "-a"]


def test_cancel_while_a_try_is_being_reverted_does_not_try_again(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(5, "r")).add(
            Note("a", calls),
            Note("b", calls, undoes=asks(stop, "cancel")),
            Note("c", calls, does=raises(ValueError("boom"))),
        )

    job = runs.run(runs.post(flow), stop)
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]
    assert job.state is JobState.CANCELLED


def test_cancel_just_before_a_retry_starts_again_does_not_start_it(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(5, "r")).add(
            Note("a", calls, undoes=asks(stop, "cancel"), does=raises(ValueError("boom")))
        )

    job_id = runs.post(flow)
    assert runs.run(job_id, stop).state is JobState.CANCELLED
    assert calls == ["a", "-a"]


def test_cancel_of_a_flow_that_undoes_itself_anyway_leaves_it_reverted(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        return linear_flow.Flow("f").add(
            Note("a", calls),
            Note("b", calls, undoes=asks(stop, "cancel")),
            Note("c", calls, does=raises(ValueError("boom"))),
        )

    job = runs.run(runs.post(flow), stop)
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert job.error.message == "boom"


@ENGINES
def test_cancel_without_revert_keeps_what_was_done(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, asks(stop, "cancel", CancelMode.KEEP)), engine=engine)
    job = runs.run(job_id, stop)
    assert (job.state, calls) == (JobState.CANCELLED, ["a", "b", "c"])
    assert job.error is not None
    assert "kept" in job.error.message


@ENGINES
def test_a_task_that_stops_early_for_a_cancel_is_undone_too(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, stops(stop, "cancel")), engine=engine)
    assert runs.run(job_id, stop).state is JobState.CANCELLED
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]


def test_reverts_are_not_asked_to_stop_by_what_made_them_run(runs: Runs) -> None:
    calls: Calls = []
    asked: list[bool] = []
    stop = StopSignal()

    def flow() -> Any:
        first = Note("a", calls, undoes=lambda: asked.append(stopping.stop_requested()))
        return linear_flow.Flow("f").add(first, Note("b", calls, does=asks(stop, "cancel")), Note("c", calls))

    assert runs.run(runs.post(flow), stop).state is JobState.CANCELLED
    assert asked == [False]


def test_a_suspended_job_that_is_cancelled_later_is_undone_by_its_next_owner(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, asks(stop, "suspend")))
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    assert runs.cancel(job_id) is JobState.SUSPENDED
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]


def test_an_atom_that_a_dead_owner_had_started_is_undone(runs: Runs) -> None:
    """Stop comes before the second owner starts it again: it must not be forgotten that it ran."""
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, stops(stop, "suspend")))
    runs.run(job_id, stop)
    assert runs.states(job_id)["c"] == "RUNNING"
    again = StopSignal()
    again.set("suspend")
    assert runs.run(job_id, again).state is JobState.SUSPENDED
    assert runs.states(job_id)["c"] == "RUNNING"
    runs.cancel(job_id)
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]


def test_an_atom_that_ran_before_and_is_not_started_again_is_still_undone(runs: Runs) -> None:
    """The second owner is asked to stop between two atoms that the first one had both started."""
    calls: Calls = []
    first, second = StopSignal(), StopSignal()
    both = threading.Barrier(2)

    def start_both() -> None:
        both.wait(10)
        stops(first, "suspend")()

    def flow(does: Callable[[], Any]) -> Any:
        return unordered_flow.Flow("f").add(Note("a", calls, does=does), Note("b", calls, does=does))

    job_id = runs.post(lambda: flow(start_both), engine="parallel")
    runs.run(job_id, first)
    assert runs.states(job_id) == {"a": "RUNNING", "b": "RUNNING"}
    runs.register(runs.store.get(job_id).type, lambda: flow(asks(second, "suspend")))
    assert runs.run(job_id, second).state is JobState.SUSPENDED
    assert sorted(runs.states(job_id).values()) == ["RUNNING", "SUCCESS"]
    runs.cancel(job_id)
    assert runs.run(job_id).state is JobState.CANCELLED
    assert sorted(call for call in calls if call.startswith("-")) == ["-a", "-b"]


def test_atoms_that_wait_for_a_thread_when_the_job_stops_stay_pending(runs: Runs) -> None:
    """TaskFlow cancels those; they have been called RUNNING, but never ran."""
    calls: Calls = []
    stop = StopSignal()

    def hold() -> None:
        stop.set("suspend")
        until(lambda: runs.flow_state(job_id) == "SUSPENDING")
        threading.Event().wait(2 * PARALLEL_LOOK_S)  # so that the engine looks again before a thread is free

    def flow() -> Any:
        return unordered_flow.Flow("f").add(*[Note(f"t{i}", calls, does=hold) for i in range(12)])

    job_id = runs.post(flow, engine="parallel")
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    ran = set(calls)
    assert runs.states(job_id) == {f"t{i}": "SUCCESS" if f"t{i}" in ran else "PENDING" for i in range(12)}
    runs.cancel(job_id)
    assert runs.run(job_id).state is JobState.CANCELLED
    assert {call[1:] for call in calls if call.startswith("-")} == ran


def at_last(calls: Calls, does: Callable[[], Any]) -> Any:
    """A flow whose last atom does something."""
    return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=does))


@ENGINES
@pytest.mark.parametrize(
    ("reason", "state"), [("cancel", JobState.CANCELLED), ("timeout", JobState.TIMED_OUT)]
)
def test_who_is_called_off_while_the_last_atom_runs_to_its_end_is_undone(
    runs: Runs, engine: str, reason: StopReason, state: JobState
) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: at_last(calls, asks(stop, reason)), engine=engine)
    assert runs.run(job_id, stop).state is state
    assert calls == ["a", "b", "-b", "-a"]
    assert runs.flow_state(job_id) == "REVERTED"


@ENGINES
def test_cancel_without_revert_while_the_last_atom_runs_keeps_its_result(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: at_last(calls, asks(stop, "cancel", CancelMode.KEEP)), engine=engine)
    job = runs.run(job_id, stop)
    assert (job.state, calls) == (JobState.CANCELLED, ["a", "b"])
    assert {name: atom.result for name, atom in runs.atoms(job_id).items()} == {"a": "A", "b": "stopped here"}
    assert runs.flow_state(job_id) == "SUSPENDED"


def test_cancel_while_the_last_atom_of_a_retry_runs_does_not_try_again(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(5, "r")).add(
            Note("a", calls, does=asks(stop, "cancel"))
        )

    assert runs.run(runs.post(flow), stop).state is JobState.CANCELLED
    assert calls == ["a", "-a"]


@ENGINES
def test_a_conductor_that_leaves_while_the_last_atom_runs_ends_the_job(runs: Runs, engine: str) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: at_last(calls, asks(stop, "suspend")), engine=engine)
    assert runs.run(job_id, stop).state is JobState.SUCCEEDED
    assert calls == ["a", "b"]


@pytest.mark.parametrize(
    ("reason", "state"), [("cancel", JobState.CANCELLED), ("timeout", JobState.TIMED_OUT)]
)
def test_a_conductor_that_leaves_as_well_lets_the_next_one_undo(
    runs: Runs, reason: StopReason, state: JobState
) -> None:
    calls: Calls = []
    stop = StopSignal()
    stop_twice = [asks(stop, "suspend"), asks(stop, reason)]
    job_id = runs.post(lambda: at_last(calls, lambda: [ask() for ask in stop_twice]))
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    assert calls == ["a", "b"]
    again = StopSignal()
    again.set(reason)  # the next conductor learns it from the job's row
    assert runs.run(job_id, again).state is state
    assert calls == ["a", "b", "-b", "-a"]


@pytest.mark.parametrize("mode", list(CancelMode))
def test_a_job_can_be_cancelled_until_its_end_is_recorded(runs: Runs, mode: CancelMode) -> None:
    """Its owner died when its flow had succeeded, in the record too, before the job had."""
    calls: Calls = []
    job_id = runs.post(lambda: at_last(calls, lambda: "done"))
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert runs.flow_state(job_id) == "SUCCESS"
    ended = {"state": "RUNNING", "owner": "dead", "finished_ms": None, "result": None}
    with runs.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(ended))
    assert runs.cancel(job_id, mode) is JobState.RUNNING
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == (["a", "b", "-b", "-a"] if mode is CancelMode.REVERT else ["a", "b"])


def test_a_job_that_is_cancelled_before_its_first_atom_has_nothing_to_undo(runs: Runs) -> None:
    calls: Calls = []
    job_id = runs.post(lambda: at_last(calls, lambda: None))
    job, fresh = runs.begin(job_id)
    stop = StopSignal()
    stop.set("cancel")
    assert runs.run_owned(job, stop, fresh=fresh).state is JobState.CANCELLED
    assert calls == []


def test_undoing_is_suspended_when_the_conductor_leaves_and_goes_on_elsewhere(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def flow() -> Any:
        return linear_flow.Flow("f").add(
            Note("a", calls),
            Note("b", calls, undoes=lambda: stop.set("suspend")),
            Note("c", calls, does=asks(stop, "timeout")),
            Note("d", calls),
        )

    job_id = runs.post(flow)
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    assert calls == ["a", "b", "c", "-c", "-b"]
    job = runs.run(job_id)
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]
    assert job.state is JobState.TIMED_OUT


def test_undoing_that_was_cut_off_ends_as_it_began(runs: Runs) -> None:
    """The owner dies in the middle of undoing a cancelled job; the next one finishes it as CANCELLED."""
    calls: Calls = []
    stop = StopSignal()

    def take_over() -> None:
        runs.begin(job_id)

    def flow() -> Any:
        b, c = Note("b", calls, undoes=take_over), Note("c", calls, does=asks(stop, "cancel"))
        return linear_flow.Flow("f").add(Note("a", calls), b, c, Note("d", calls))

    job_id = runs.post(flow)
    job, fresh = runs.begin(job_id)
    runs.cancel(job_id)
    assert not runs.run_owned(job, stop, fresh=fresh).finished  # its lease is lost while it undoes b
    runs.register(job.type, lambda: linear_flow.Flow("f").add(*[Note(name, calls) for name in "abcd"]))
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == ["a", "b", "c", "-c", "-b", "-b", "-a"]


# Time


def test_a_timeout_undoes_and_says_so(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, asks(stop, "timeout")), timeout=30.0)
    job = runs.run(job_id, stop)
    assert job.state is JobState.TIMED_OUT
    assert job.error is not None
    assert "30 s" in job.error.message
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]


# A lease that is lost


@ENGINES
def test_who_lost_the_lease_records_nothing_and_starts_nothing(runs: Runs, engine: str) -> None:
    calls: Calls = []
    taken: list[Any] = []

    def take_over() -> str:
        taken.append(runs.begin(job_id))
        return "the zombie's result"

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=take_over), Note("c", calls))

    job_id = runs.post(flow, engine=engine)
    job, fresh = runs.begin(job_id)
    outcome = runs.run_owned(job, StopSignal(), fresh=fresh)
    assert not outcome.finished
    assert calls == ["a", "b"]
    assert runs.states(job_id) == {"a": "SUCCESS", "b": "RUNNING", "c": "PENDING"}
    assert runs.store.get(job_id).owner == taken[0][0].owner
    runs.register(job.type, lambda: linear_flow.Flow("f").add(*[Note(name, calls) for name in "abc"]))
    second, _ = taken[0]
    assert runs.run_owned(second, StopSignal(), fresh=False).state is JobState.SUCCEEDED
    assert calls == ["a", "b", "b", "c"]
    assert runs.atoms(job_id)["b"].result == "B"


def test_two_runs_of_a_job_in_one_process_are_kept_apart(runs: Runs) -> None:
    """The old owner's task still runs while the same process, as a new owner, is further on in the job."""
    calls: Calls = []
    at_c, go_on = threading.Event(), threading.Event()
    results: list[Any] = []

    def stand_still() -> None:
        at_c.set()
        assert go_on.wait(10)

    def second_run() -> None:
        second, _ = runs.begin(job_id)
        runs.register(job.type, lambda: linear_flow.Flow("f").add(
            Note("a", calls), Note("b", calls, does=lambda: "second"), Note("c", calls, does=stand_still)))  # fmt: skip
        results.append(runs.run_owned(second, StopSignal(), fresh=False).state)

    thread = threading.Thread(target=second_run)

    def take_over() -> str:
        thread.start()
        assert at_c.wait(10)
        return "first"

    job_id = runs.post(
        lambda: linear_flow.Flow("f").add(
            Note("a", calls),
            Note("b", calls, does=take_over),
            Note("c", calls, does=raises(ValueError("never"))),
        )
    )
    job, fresh = runs.begin(job_id)
    assert not runs.run_owned(job, StopSignal(), fresh=fresh).finished
    go_on.set()
    thread.join(10)
    assert results == [JobState.SUCCEEDED]
    assert calls == ["a", "b", "b", "c"]
    assert runs.atoms(job_id)["b"].result == "second"
    assert runs.atoms(job_id)["c"].starts == 1


def test_nothing_overrules_a_lost_lease(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()

    def lose_then_cancel() -> None:
        stop.set("lost")
        stop.set("cancel")

    job_id = runs.post(lambda: linear(calls, lose_then_cancel))
    assert runs.run(job_id, stop).state is JobState.SUSPENDED
    assert calls == ["a", "b", "c"]


# Code that changed


def test_a_flow_whose_atoms_were_renamed_waits_and_says_why(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, asks(stop, "suspend")))
    runs.run(job_id, stop)
    name = runs.store.get(job_id).type
    runs.register(name, lambda: linear_flow.Flow("f").add(*[Note(n, calls) for n in ("a", "b2", "c", "d")]))
    job = runs.run(job_id)
    assert job.state is JobState.SUSPENDED
    assert "b is gone; b2 is new" in (job.note or "")
    assert calls == ["a", "b", "c"]
    runs.register(name, lambda: linear_flow.Flow("f").add(*[Note(n, calls) for n in "abcd"]))
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a", "b", "c", "d"]


def test_a_half_done_job_whose_type_is_gone_waits_and_says_why(runs: Runs) -> None:
    calls: Calls = []
    stop = StopSignal()
    job_id = runs.post(lambda: linear(calls, asks(stop, "suspend")))
    runs.run(job_id, stop)
    with runs.database.write() as connection:
        connection.execute(jobs.update().values(type="renamed"))
    job = runs.run(job_id)
    assert not job.state.is_terminal
    assert "renamed" in (job.note or "")
    assert runs.cancel(job_id, CancelMode.KEEP) is JobState.CANCELLED


def test_the_journal_says_who_ran_what(runs: Runs) -> None:
    gate = threading.Event()
    calls: Calls = []
    job_id = runs.post(lambda: linear(calls, gate.set))
    job = runs.run(job_id)
    assert {(atom.epoch, atom.node, atom.starts) for atom in runs.atoms(job.id).values()} == {(1, "node", 1)}
