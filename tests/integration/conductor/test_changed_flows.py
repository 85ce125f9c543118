"""Half-done flows whose code has changed: they wait for the old code, or for a person's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow.patterns import linear_flow, unordered_flow

from jobrunner import WaitForSignal
from jobrunner.conductor import run
from jobrunner.conductor.run import MISFIT_MOST_S
from jobrunner.conductor.worker.misfits import Misfits
from jobrunner.errors import LeaseLost, StoreUnavailable
from jobrunner.model import CancelMode, Job, JobState
from jobrunner.persistence import signals
from jobrunner.persistence.flows import META_KEY, META_ORDER, META_PRINT, atoms_of, loads
from jobrunner.persistence.ownership import adoption
from jobrunner.persistence.tables import flowdetails
from jobrunner.stopping import StopSignal
from tests.support.runs import Calls, Note, Runs

SAME = "Its atoms have the names"


class Other(Note):
    """The same, but another class."""


def half_done(runs: Runs, flow: Callable[[], Any]) -> str:
    """A job that waits for a signal in the middle of its flow; its id. The signal is there."""
    job_id = runs.post(flow)
    assert runs.run(job_id).state is JobState.SUSPENDED
    signals.send(runs.database, job_id, "go", None)
    return job_id


def change(runs: Runs, job_id: str, flow: Callable[[], Any]) -> None:
    runs.register(runs.store.get(job_id).type, flow)


def linear(*tasks: Any, name: str = "f") -> Callable[[], Any]:
    return lambda: linear_flow.Flow(name).add(*tasks)


def meta_of(runs: Runs, job: Job) -> dict[str, Any]:
    with runs.database.read() as connection:
        query = sa.select(flowdetails.c.meta).where(flowdetails.c.uuid == job.flow_id)
        found: dict[str, Any] = loads(connection.execute(query).scalar())
    return found


def set_meta(runs: Runs, job: Job, ours: dict[str, Any]) -> None:
    import json

    meta = {**meta_of(runs, job), META_KEY: ours}
    with runs.database.write() as connection:
        connection.execute(
            flowdetails.update().where(flowdetails.c.uuid == job.flow_id).values(meta=json.dumps(meta))
        )


def test_changed_code_under_the_same_shape_goes_on(runs: Runs) -> None:
    calls: Calls = []
    job_id = half_done(runs, linear(Note("a", calls), WaitForSignal("go"), Note("z", calls), name="one"))
    changed = Note("z", calls, does=lambda: "other")
    change(runs, job_id, linear(Note("a", calls), WaitForSignal("go", timeout=9), changed, name="two"))
    assert runs.run(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda c: [Note("a", c, provides="x"), WaitForSignal("go"), Other("z", c, requires=["x"])], SAME),
        (lambda c: [Note("a", c, provides="x"), WaitForSignal("go"), Note("z", c)], SAME),
        (lambda c: [Note("a", c, provides="y"), WaitForSignal("go"), Note("z", c, requires=["y"])], SAME),
        (lambda c: [Note("a", c, provides="x"), Note("z", c, requires=["x"]), WaitForSignal("go")], SAME),
        (lambda c: [Note("a", c, provides="x"), WaitForSignal("go"), Note("y", c, requires=["x"])], "y is new"),
    ],
    ids=["class", "requires", "provides", "order", "name"],
)  # fmt: skip
def test_another_shape_waits_and_says_so_until_somebody_adopts_it(
    runs: Runs, changed: Callable[[Calls], list[Any]], why: str
) -> None:
    calls: Calls = []
    old = linear(Note("a", calls, provides="x"), WaitForSignal("go"), Note("z", calls, requires=["x"]))
    job_id = half_done(runs, old)
    before = meta_of(runs, runs.store.get(job_id))
    change(runs, job_id, linear(*changed(calls)))
    job = runs.run(job_id)
    assert (job.state, job.parked, calls) == (JobState.SUSPENDED, None, ["a"])
    assert job.note is not None
    assert job.note.startswith("Waiting for a node that can go on with it.")
    assert why in job.note
    assert "`jobrunner adopt`" in job.note
    assert meta_of(runs, job) == before

    assert adoption.allow_other_code(runs.database, job_id).note is None
    job = runs.run(job_id)
    assert (job.state, job.adopted) == (JobState.SUCCEEDED, False)
    assert len(calls) == 2  # what had ended is not run again
    assert meta_of(runs, job)[META_KEY][META_PRINT] != before[META_KEY][META_PRINT]


def test_a_job_that_waits_goes_on_where_its_own_code_is(runs: Runs) -> None:
    calls: Calls = []
    old = linear(Note("a", calls), WaitForSignal("go"), Note("z", calls))
    job_id = half_done(runs, old)
    change(runs, job_id, linear(Note("a", calls), WaitForSignal("go"), Other("z", calls)))
    assert runs.run(job_id).note is not None
    change(runs, job_id, old)
    assert runs.run(job_id).state is JobState.SUCCEEDED


def test_a_task_that_the_adopted_code_has_no_more_is_told_to_be_gone(runs: Runs) -> None:
    """Its record stays as it was left, for TaskFlow to read; nobody should wait for it."""
    calls: Calls = []
    job_id = half_done(runs, linear(Note("a", calls), WaitForSignal("go"), Note("z", calls)))
    change(runs, job_id, linear(Note("a", calls), Note("b", calls)))
    runs.run(job_id)
    assert states_of(runs, job_id) == {"a": "SUCCESS", "wait for go": "RUNNING", "z": "PENDING"}
    adoption.allow_other_code(runs.database, job_id)
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert states_of(runs, job_id) == {"a": "SUCCESS", "b": "SUCCESS", "wait for go": "GONE", "z": "GONE"}


def states_of(runs: Runs, job_id: str) -> dict[str, str]:
    return {atom.name: atom.state for atom in atoms_of(runs.database, [runs.store.get(job_id)])[job_id]}


def test_an_adopted_job_belongs_to_its_new_code(runs: Runs) -> None:
    """The word that allowed it counts once: what goes on with it next has to be the same code again."""
    calls: Calls = []
    stop = StopSignal()
    old = linear(Note("a", calls), WaitForSignal("go"), Note("z", calls))
    job_id = half_done(runs, old)
    leaves = Note("b", calls, does=lambda: stop.set("suspend"))
    new = linear(Note("a", calls), leaves, WaitForSignal("go"), Note("z", calls))
    change(runs, job_id, new)
    assert "b is new" in str(runs.run(job_id).note)
    adoption.allow_other_code(runs.database, job_id)
    job = runs.run(job_id, stop)
    assert (job.state, job.adopted, job.note) == (JobState.SUSPENDED, False, None)
    assert meta_of(runs, job)[META_KEY][META_ORDER] == ["a", "b", "wait for go", "z"]
    change(runs, job_id, old)
    assert "b is gone" in str(runs.run(job_id).note)
    change(runs, job_id, new)
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a", "b", "z"]


def test_adopted_code_that_cannot_run_leaves_the_job_as_it_was(runs: Runs) -> None:
    calls: Calls = []
    old = linear(Note("a", calls), WaitForSignal("go"), Note("z", calls))
    job_id = half_done(runs, old)
    before = meta_of(runs, runs.store.get(job_id))
    change(runs, job_id, linear(Note("a", calls), WaitForSignal("go"), Note("z", calls, requires=["nobody"])))
    runs.run(job_id)
    adoption.allow_other_code(runs.database, job_id)
    job = runs.run(job_id)
    assert (job.state, job.adopted) == (JobState.SUSPENDED, True)
    assert "nobody" in str(job.note)
    assert meta_of(runs, job) == before
    change(runs, job_id, old)
    job = runs.run(job_id)
    assert (job.state, job.adopted, calls) == (JobState.SUCCEEDED, False, ["a", "z"])


@pytest.mark.parametrize("error", [StoreUnavailable("The database is away."), LeaseLost()])
def test_an_outage_while_it_is_adopted_is_not_said_to_be_its_codes_fault(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    calls: Calls = []
    job_id = half_done(runs, linear(Note("a", calls), WaitForSignal("go"), Note("z", calls)))
    new = linear(Note("a", calls), Note("b", calls))
    change(runs, job_id, new)
    runs.run(job_id)
    adoption.allow_other_code(runs.database, job_id)

    caplog.clear()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(run, "adopted", fail)
        job = runs.run(job_id)
    assert (job.note, job.misfits) == (None, 0)
    assert "cannot be run" not in caplog.text
    assert runs.run(job_id).state is JobState.SUCCEEDED
    assert calls == ["a", "b"]


def test_what_the_new_code_does_not_have_is_not_undone(runs: Runs) -> None:
    calls: Calls = []
    job_id = half_done(
        runs, linear(Note("a", calls), Note("b", calls), WaitForSignal("go"), Note("z", calls))
    )
    change(runs, job_id, linear(Note("b", calls), WaitForSignal("go"), Note("z", calls)))
    adoption.allow_other_code(runs.database, job_id)
    runs.cancel(job_id, CancelMode.REVERT)
    assert runs.run(job_id).state is JobState.CANCELLED
    assert calls == ["a", "b", "-b"]
    assert runs.states(job_id)["a"] == "SUCCESS"


def test_flows_that_were_recorded_before_go_by_their_names(runs: Runs) -> None:
    calls: Calls = []
    job_id = half_done(runs, linear(Note("a", calls), WaitForSignal("go"), Note("z", calls)))
    job = runs.store.get(job_id)
    set_meta(runs, job, {META_ORDER: meta_of(runs, job)[META_KEY][META_ORDER]})
    change(runs, job_id, linear(Note("a", calls), WaitForSignal("go"), Note("y", calls)))
    assert "z is gone; y is new" in str(runs.run(job_id).note)
    change(runs, job_id, lambda: unordered_flow.Flow("f").add(
        Note("a", calls), WaitForSignal("go"), Other("z", calls)))  # fmt: skip
    assert runs.run(job_id).state is JobState.SUCCEEDED


def test_the_pause_between_nodes_with_other_code_grows_until_one_has_it(runs: Runs) -> None:
    calls: Calls = []
    old = linear(Note("a", calls), WaitForSignal("go"), Note("b", calls))
    job_id = half_done(runs, old)
    change(runs, job_id, linear(Note("a", calls), WaitForSignal("go"), Note("c", calls)))
    pauses = []
    for _ in range(7):
        job, fresh = runs.begin(job_id)
        pauses.append(runs.run_owned(job, StopSignal(), fresh=fresh).delay)
    assert pauses == [15, 30, 60, 120, 240, MISFIT_MOST_S, MISFIT_MOST_S]
    assert runs.store.get(job_id).misfits == 7
    assert runs.store.get(job_id).deaths == 0
    change(runs, job_id, old)
    job = runs.run(job_id)
    assert (job.state, job.misfits) == (JobState.SUCCEEDED, 0)
    assert calls == ["a", "b"]


def test_who_adopts_it_begins_with_short_pauses_again(runs: Runs) -> None:
    job_id = half_done(runs, linear(Note("a", []), WaitForSignal("go")))
    change(runs, job_id, linear(Note("x", []), WaitForSignal("go")))
    assert runs.run(job_id).misfits == 1
    assert adoption.allow_other_code(runs.database, job_id).misfits == 0
    assert runs.store.get(job_id).misfits == 0


def test_a_node_that_comes_finds_what_waits_for_its_code(runs: Runs) -> None:
    old, new = linear(Note("a", []), WaitForSignal("go")), linear(Note("x", []), WaitForSignal("go"))
    mine, theirs, plain = half_done(runs, old), half_done(runs, old), half_done(runs, old)
    for job_id in (mine, theirs):
        change(runs, job_id, new)
        assert runs.run(job_id).misfits == 1
    assert runs.store.get(plain).misfits == 0
    change(runs, mine, old)
    woken: list[bool] = []
    come = Misfits(
        runs.database, lambda: runs.registry, fits=lambda cls: True, found=lambda: woken.append(True)
    )
    come._look()
    assert woken == [True]
    assert come.take(10) == [mine]
    assert come.take(10) == []
    elsewhere = Misfits(
        runs.database, lambda: runs.registry, fits=lambda cls: False, found=lambda: woken.append(True)
    )
    elsewhere._look()
    assert elsewhere.take(10) == []
