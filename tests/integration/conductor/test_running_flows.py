"""Flows run to their ends: what is recorded, what the job's end is, and what a task may do to the process."""

from __future__ import annotations

import enum
import os
import signal
import sys
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.task import EVENT_UPDATE_PROGRESS

from jobrunner.conductor import run
from jobrunner.conductor.run import RETRY_ELSEWHERE_S
from jobrunner.model import JobState
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.ownership.beginning import MAX_DEATHS
from jobrunner.persistence.ownership.lost_leases import give_death_back
from jobrunner.persistence.tables import atomdetails
from jobrunner.stopping import StopSignal
from tests.support.runs import Calls, Note, Runs, raises


def test_atoms_of_a_linear_flow_run_in_order_and_give_the_result(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls, provides="x"), Note("b", calls, requires=["x"]))

    job = runs.run(runs.post(flow))
    assert calls == ["a", "b"]
    assert (job.state, job.result, job.error) == (JobState.SUCCEEDED, {"x": "A"}, None)
    assert runs.states(job.id) == {"a": "SUCCESS", "b": "SUCCESS"}
    assert job.finished_ms is not None


def test_parameters_reach_the_factory_and_the_atoms(runs: Runs) -> None:
    seen: list[Any] = []

    class Show(Note):
        def execute(self, name: str, job_id: str) -> Any:  # type: ignore[override]
            seen.append((name, job_id))

    def flow(name: str, times: int = 2) -> Any:
        return linear_flow.Flow("f").add(*[Show(f"s{i}", []) for i in range(times)])

    job = runs.run(runs.post(flow, name="bob"))
    assert seen == [("bob", job.id)] * 2
    assert job.result is None


def test_a_parallel_engine_runs_atoms_at_once(runs: Runs) -> None:
    calls: Calls = []
    together = threading.Barrier(3)

    def flow() -> Any:
        wait = lambda: together.wait(10) >= 0  # noqa: E731
        return unordered_flow.Flow("f").add(*[Note(f"a{i}", calls, does=wait) for i in range(3)])

    job = runs.run(runs.post(flow, engine="parallel"))
    assert job.state is JobState.SUCCEEDED
    assert sorted(calls) == ["a0", "a1", "a2"]


def test_a_failing_atom_reverts_those_before_it_last_first(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        boom = Note("c", calls, does=raises(ValueError("no such luck")))
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls), boom, Note("d", calls))

    job = runs.run(runs.post(flow))
    assert calls == ["a", "b", "c", "-c", "-b", "-a"]
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert (job.error.kind, job.error.message, job.error.atom) == ("ValueError", "no such luck", "c")
    assert "raise error" in (job.error.traceback or "")
    assert runs.states(job.id) == {"a": "REVERTED", "b": "REVERTED", "c": "REVERTED", "d": "PENDING"}


def test_a_failing_revert_fails_the_job_and_names_both_faults(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(
            Note("a", calls),
            Note("b", calls, undoes=raises(OSError("disk is full"))),
            Note("c", calls, does=raises(ValueError("bad input"))),
        )

    job = runs.run(runs.post(flow))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "disk is full" in job.error.message
    assert "bad input" in job.error.message
    assert job.error.atom == "b"
    assert runs.states(job.id)["b"] == "REVERT_FAILURE"
    assert runs.states(job.id)["a"] == "SUCCESS"


def test_times_tries_again_until_it_works(runs: Runs) -> None:
    calls: Calls = []

    def sometimes() -> str:
        if calls.count("a") < 3:
            raise ValueError("not yet")
        return "done"

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(5, "r")).add(
            Note("a", calls, does=sometimes, provides="x")
        )

    job = runs.run(runs.post(flow))
    assert calls == ["a", "-a", "a", "-a", "a"]
    assert job.state is JobState.SUCCEEDED
    assert job.result["x"] == "done"
    assert runs.atoms(job.id)["a"].starts == 3


def test_times_gives_up(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f", retry=retry.Times(3, "r")).add(
            Note("a", calls, does=raises(ValueError("never")))
        )

    job = runs.run(runs.post(flow))
    assert calls.count("a") == 3
    assert job.state is JobState.REVERTED


def test_for_each_gives_each_value_once(runs: Runs) -> None:
    seen: list[Any] = []

    class Take(Note):
        def execute(self, value: Any) -> Any:  # type: ignore[override]
            seen.append(value)
            if value != {"n": 3}:
                raise ValueError(str(value))

    def flow() -> Any:
        values = retry.ForEach([1, "two", {"n": 3}, 4], "r", provides="value")
        return linear_flow.Flow("f", retry=values).add(Take("t", []))

    job = runs.run(runs.post(flow))
    assert seen == [1, "two", {"n": 3}]
    assert job.state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "Generator"),
    ],
)
@pytest.mark.parametrize("engine", ["serial", "parallel"])
def test_a_task_that_would_end_the_process_fails(
    runs: Runs, fault: BaseException, word: str, engine: str
) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=raises(fault)))

    job = runs.run(runs.post(flow, engine=engine))
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert word in job.error.message
    assert calls == ["a", "b", "-b", "-a"]


def exits_in_the_factory(calls: Calls, fault: BaseException) -> Any:
    raise fault


def exits_in_a_decider(calls: Calls, fault: BaseException) -> Any:
    a, b = Note("a", calls), Note("b", calls)
    return graph_flow.Flow("f").add(a, b).link(a, b, decider=lambda history: raises(fault)())


def exits_in_a_retry(calls: Calls, fault: BaseException) -> Any:
    class Exits(retry.Times):  # type: ignore[misc]
        def on_failure(self, *args: Any, **kwargs: Any) -> Any:
            raise fault

    return linear_flow.Flow("f", retry=Exits(2)).add(Note("a", calls, does=raises(ValueError("no luck"))))


def exits_in_a_listener(calls: Calls, fault: BaseException) -> Any:
    listened = Note("a", calls)
    listened.notifier.register(EVENT_UPDATE_PROGRESS, lambda *args, **kwargs: raises(fault)())
    return linear_flow.Flow("f").add(listened)


@pytest.mark.parametrize("fault", [SystemExit(3), CancelledError(), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "make", [exits_in_the_factory, exits_in_a_decider, exits_in_a_retry, exits_in_a_listener]
)
def test_a_flow_that_would_end_the_process_beside_its_tasks_fails_its_job(
    runs: Runs, make: Callable[..., Any], fault: BaseException
) -> None:
    """Else nobody would hear of the job's end: its slot would be taken, and its lease kept, for ever."""
    calls: Calls = []
    job = runs.run(runs.post(lambda: make(calls, fault)))
    assert job.state is JobState.FAILED
    assert job.owner is None


def test_an_error_of_our_own_that_is_no_exception_gives_the_job_back(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = runs.post(quick_flow([]))
    with monkeypatch.context() as patch:
        patch.setattr(run, "JobEngine", lambda *args, **options: raises(CancelledError())())
        job = runs.run(job_id)
    assert (job.state, job.owner, job.deaths) == (JobState.SUSPENDED, None, 1)
    assert runs.run(job_id).state is JobState.SUCCEEDED


def test_an_error_that_came_of_an_attempt_to_exit_is_recorded(runs: Runs) -> None:
    """As a task makes of what argparse does to bad arguments; TaskFlow alone could not hold such a failure."""
    calls: Calls = []

    def parse() -> None:
        try:
            sys.exit(2)
        except SystemExit:
            raise ValueError("bad arguments")  # noqa: B904 - the point is the context that is left

    def chained() -> None:
        try:
            parse()
        except ValueError as error:
            raise RuntimeError("no backup") from error

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=chained))

    job = runs.run(runs.post(flow))
    assert (job.state, calls) == (JobState.REVERTED, ["a", "b", "-b", "-a"])
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("RuntimeError", "no backup")


@pytest.mark.parametrize(
    ("ends", "code"),
    [(lambda: None, 0), (lambda: sys.exit(7), 7), (raises(ValueError("in the child")), 1)],
    ids=["returns", "exits", "raises"],
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # since Python 3.12, for there are threads
def test_a_process_that_a_task_forked_ends_where_it_comes_back_from_the_task(
    runs: Runs, ends: Callable[[], None], code: int
) -> None:
    """Else it went on as a second worker, and its parent would wait for it for ever."""
    codes: list[int] = []

    def fork() -> None:
        child = os.fork()
        if not child:
            ends()
            return
        deadline = time.monotonic() + 10
        while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        codes.append(os.waitstatus_to_exitcode(found[1]))

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", [], does=fork))

    assert runs.run(runs.post(flow)).state is JobState.SUCCEEDED
    assert codes == [code]


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (object(), "object"),
        ({"deep": [1, {"er": {1, 2}}]}, "set"),
        (Colour.RED, "Colour"),
        (float("nan"), "nan"),
        ("\ud800", "not valid Unicode"),
        (b"bytes", "bytes"),
        ("x" * (9 * 1024 * 1024), "too large"),
        (10**5000, "a whole number of more digits"),
        ({"n": [10**5000]}, "['n'][0] of more digits"),
    ],
    ids=["object", "set", "enum", "nan", "surrogate", "bytes", "large", "number", "number in it"],
)
def test_a_result_that_cannot_be_stored_fails_its_atom_at_once(runs: Runs, value: Any, word: str) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=lambda: value))

    job = runs.run(runs.post(flow))
    assert calls == ["a", "b", "-b", "-a"]
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert job.error.kind == "NotStorable"
    assert "atom b" in job.error.message
    assert word in job.error.message


def test_a_revert_whose_result_cannot_be_stored_fails_the_revert(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(
            Note("a", calls, undoes=lambda: "x" * 70_000), Note("b", calls, does=raises(ValueError("boom")))
        )

    job = runs.run(runs.post(flow))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "revert of the atom a" in job.error.message
    assert "too large" in job.error.message


def test_values_are_the_same_on_the_first_pass_as_after_a_resume(runs: Runs) -> None:
    seen: list[Any] = []
    value = {"pair": (1, 2), 3: "three", "text": "é\x00", "float": 0.1}

    class Show(Note):
        def execute(self, x: Any) -> Any:  # type: ignore[override]
            seen.append(x)

    def flow() -> Any:
        make = Note("make", [], does=lambda: value, provides="x")
        stop = Note("stop", [], does=lambda: None)
        return linear_flow.Flow("f").add(make, Show("first", []), stop, Show("second", []))

    job_id = runs.post(flow)
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert seen[0] == {"pair": [1, 2], "3": "three", "text": "é\x00", "float": 0.1}
    assert runs.atoms(job_id)["make"].result == seen[0] == seen[1]


class Awkward(Exception):
    def __init__(self, what: object) -> None:
        super().__init__(what, {1, 2}, b"raw")


@pytest.mark.parametrize(
    "error",
    [
        Awkward(object()),
        ValueError("\ud800 lone"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        OSError(),
    ],
    ids=["args", "surrogate", "unicode", "empty"],
)
def test_exceptions_that_json_cannot_hold_are_recorded_all_the_same(runs: Runs, error: Exception) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=raises(error)))

    job = runs.run(runs.post(flow))
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert job.error.kind == type(error).__name__
    assert calls == ["a", "b", "-b", "-a"]


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_exception_without_a_text_fails_its_task_all_the_same(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, does=raises(Mute())))

    job = runs.run(runs.post(flow))
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert "Mute, which cannot say what it is about" in job.error.message
    assert calls == ["a", "b", "-b", "-a"]


def test_progress_that_cannot_be_stored_costs_only_itself(runs: Runs) -> None:
    class Tells(Note):
        def execute(self) -> Any:  # type: ignore[override]
            for progress, said in ((0.5, {"what": object()}), (0.6, {"message": "fine"})):
                self.notifier.notify(EVENT_UPDATE_PROGRESS, {"progress": progress, **said})
            return 1

    job = runs.run(runs.post(lambda: linear_flow.Flow("f").add(Tells("t", []))))
    assert job.state is JobState.SUCCEEDED
    assert runs.atoms(job.id)["t"].detail == "fine"


def test_a_factory_that_raises_fails_the_job_in_plain_words(runs: Runs) -> None:
    def flow() -> Any:
        raise RuntimeError("no configuration here")

    job = runs.run(runs.post(flow))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "no configuration here" in job.error.message


def test_a_flow_that_lacks_an_argument_fails_before_any_atom_runs(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls), Note("b", calls, requires=["nobody_provides"]))

    job = runs.run(runs.post(flow))
    assert (job.state, calls) == (JobState.FAILED, [])
    assert job.error is not None
    assert "nobody_provides" in job.error.message


def test_a_decider_that_says_no_leaves_the_rest_out(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        a, b, c = Note("a", calls), Note("b", calls), Note("c", calls)
        found = graph_flow.Flow("f").add(a, b, c)
        found.link(a, b, decider=lambda history: False)
        found.link(b, c)
        return found

    job = runs.run(runs.post(flow))
    assert (job.state, calls) == (JobState.SUCCEEDED, ["a"])


def test_a_job_that_ended_by_the_record_is_not_run_again(runs: Runs) -> None:
    """A crash between the flow's last state and the job's: the next owner settles, and runs nothing."""
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls))

    job_id = runs.post(flow)
    runs.run(job_id)
    from jobrunner.persistence.tables import jobs

    with runs.database.write() as connection:
        connection.execute(jobs.update().values(state="RUNNING", owner="node:0:dead", finished_ms=None))
    job = runs.run(job_id)
    assert (job.state, calls) == (JobState.SUCCEEDED, ["a"])


def test_no_atom_starts_when_the_lease_has_ended_while_its_start_was_recorded(runs: Runs) -> None:
    """The machine may have stood still just then, and whoever watches the leases looks only now and then."""
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls))

    job_id = runs.post(flow)
    late = StopSignal()
    late.overdue = lambda: True
    assert runs.run(job_id, late).state is JobState.SUSPENDED
    assert calls == []
    assert runs.states(job_id) == {"a": "RUNNING"}
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a"]


def test_a_record_that_cannot_be_read_fails_its_job_in_plain_words(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        return linear_flow.Flow("f").add(Note("a", calls))

    job_id = runs.post(flow)
    suspended = StopSignal()
    suspended.set("suspend")
    runs.run(job_id, suspended)
    with runs.database.write() as connection:
        connection.execute(atomdetails.update().where(atomdetails.c.name == "a").values(failure="7"))
    job = runs.run(job_id)
    assert calls == []
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.kind == "CorruptRow"
    assert "atom 'a' cannot be read" in job.error.message


def test_a_failed_flow_is_not_tried_again_by_the_next_owner(runs: Runs) -> None:
    calls: Calls = []

    def flow() -> Any:
        bad = Note("a", calls, does=raises(ValueError("x")), undoes=raises(ValueError("y")))
        return linear_flow.Flow("f").add(bad)

    job_id = runs.post(flow)
    assert runs.run(job_id).state is JobState.FAILED
    from jobrunner.persistence.tables import jobs

    with runs.database.write() as connection:
        connection.execute(jobs.update().values(state="RUNNING", owner="node:0:dead", finished_ms=None))
    assert runs.run(job_id).state is JobState.FAILED
    assert calls == ["a", "-a"]


def test_recursion_without_end_fails_the_atom(runs: Runs) -> None:
    def deep() -> Any:
        return deep()

    limit = sys.getrecursionlimit()
    job = runs.run(runs.post(lambda: linear_flow.Flow("f").add(Note("a", [], does=deep))))
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert job.error.kind == "RecursionError"
    assert sys.getrecursionlimit() == limit


def quick_flow(calls: Calls) -> Any:
    return lambda: linear_flow.Flow("f").add(Note("a", calls))


def test_an_error_of_our_own_hands_the_job_back_at_once_and_says_so(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Calls = []
    job_id = runs.post(quick_flow(calls))
    with monkeypatch.context() as patch:
        patch.setattr(run, "JobEngine", lambda *args, **options: 1 / 0)
        owned, fresh = runs.begin(job_id)
        outcome = runs.run_owned(owned, StopSignal(), fresh=fresh)
    assert (outcome.finished, outcome.delay) == (False, RETRY_ELSEWHERE_S)
    job = runs.store.get(job_id)
    assert (job.state, job.owner, job.deaths) == (JobState.SUSPENDED, None, 1)
    assert "internal error of jobrunner's stopped it on node node: ZeroDivisionError" in str(job.note)
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a"]


@pytest.mark.mariadb
def test_a_job_whose_result_its_column_cannot_hold_fails_at_once_and_says_so(mariadb_url: str) -> None:
    runs = Runs(mariadb_url)
    with runs.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs MODIFY result LONGTEXT CHARACTER SET latin1")
    calls: Calls = []
    odd = Note("a", calls, does=lambda: "\U0001f600", provides="said")
    job = runs.run(runs.post(lambda: linear_flow.Flow("f").add(odd)))
    neighbour = runs.run(runs.post(quick_flow([])))
    runs.close()
    assert (job.state, job.deaths, calls) == (JobState.FAILED, 0, ["a"])
    assert job.error is not None
    assert job.error.kind == "NotStorable"
    assert "cannot hold this text: Incorrect string value" in job.error.message
    assert "`jobs`.`result`" in job.error.message
    assert "utf8mb4" in job.error.message
    assert "SQL" not in job.error.message
    assert neighbour.state is JobState.SUCCEEDED


@pytest.mark.parametrize("name", ["\0", "\ud800", "\U0001f600", "x" * 256])
def test_an_atom_whose_name_cannot_be_stored_fails_its_job(runs: Runs, name: str) -> None:
    job = runs.run(runs.post(lambda: linear_flow.Flow("f").add(Note(name, []))))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "The name of the atom" in job.error.message


def test_an_error_of_our_own_counts_beside_the_deaths_that_were_taken_back(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = runs.post(quick_flow([]))
    owners = [runs.begin(job_id)[0] for _ in range(MAX_DEATHS)]
    assert owners[-1].deaths == MAX_DEATHS - 1
    for lives in owners[:2]:
        give_death_back(runs.database, lives)
    monkeypatch.setattr(run, "JobEngine", lambda *args, **options: 1 / 0)
    outcome = runs.run_owned(owners[-1], StopSignal(), fresh=False)
    job = runs.store.get(job_id)
    assert (outcome.finished, job.state, job.deaths) == (False, JobState.SUSPENDED, MAX_DEATHS - 2)


def test_an_error_of_our_own_that_does_not_go_away_fails_the_job_in_the_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = runs.post(quick_flow([]))
    monkeypatch.setattr(run, "JobEngine", lambda *args, **options: 1 / 0)
    jobs = [runs.run(job_id) for _ in range(MAX_DEATHS)]
    assert [job.state for job in jobs] == [JobState.SUSPENDED] * (MAX_DEATHS - 1) + [JobState.FAILED]
    error = jobs[-1].error
    assert error is not None
    assert error.kind == "InternalError"
    assert "division by zero" in error.message
    assert error.traceback


def test_an_error_while_the_end_is_written_is_told_with_the_job_too(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush_then = Writer.flush_then

    def fail(writer: Writer, journal: Any, tell: Any) -> None:
        journal.fail(TypeError("no such thing"))
        flush_then(writer, journal, tell)

    job_id = runs.post(quick_flow([]))
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "flush_then", fail)
        job = runs.run(job_id)
    assert job.state is JobState.SUSPENDED
    assert "TypeError: no such thing" in str(job.note)
    assert runs.run(job_id).state is JobState.SUCCEEDED


def test_an_owner_that_lost_its_job_to_another_did_not_die(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    class Lose(Note):
        def execute(self) -> Any:
            runs.begin(job_id)

    job_id = runs.post(lambda: linear_flow.Flow("f").add(Lose("a", [])))
    owned, fresh = runs.begin(job_id)
    outcome = runs.run_owned(owned, StopSignal(), fresh=fresh)
    job = runs.store.get(job_id)
    assert not outcome.finished
    assert (job.state, job.epoch, job.deaths) == (JobState.RUNNING, owned.epoch + 1, 0)
    assert f"its lease was lost, and {job.owner} has it now" in caplog.text
