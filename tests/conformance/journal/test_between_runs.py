"""The journal between two runs of a flow, which one process of a TaskFlow program after the other may come to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import tenacity
from taskflow import engines, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models
from taskflow.storage import Storage

from jobrunner.errors import StoreUnavailable
from jobrunner.persistence.journal.backend import JournalBackend, JournalConnection

RAN: list[str] = []
FAIL_IN_STEP: list[JournalBackend] = []
"""Backends whose journal fails when the first step has run."""


class Step(task.Task):
    def execute(self) -> str:
        RAN.append(self.name)
        for backend in FAIL_IN_STEP:
            (flow,) = backend.flows.values()
            flow.fail(StoreUnavailable("away for too long"))
        return self.name


def steps() -> Any:
    return linear_flow.Flow("steps").add(Step("one", provides="first"), Step("two", provides="second"))


@pytest.fixture(autouse=True)
def _start_anew() -> None:
    RAN.clear()
    FAIL_IN_STEP.clear()


@pytest.fixture
def ours(ready_url: str) -> Iterator[JournalBackend]:
    with contextlib.closing(backends.fetch({"connection": f"jobrunner+{ready_url}"})) as backend:
        yield backend


@pytest.fixture
def other(ready_url: str) -> Iterator[JournalBackend]:
    """What another process has."""
    with contextlib.closing(backends.fetch({"connection": f"jobrunner+{ready_url}"})) as backend:
        yield backend


def saved(backend: JournalBackend, *, flows: int = 1) -> list[models.FlowDetail]:
    book = models.LogBook("book")
    for _ in range(flows):
        book.add(models.FlowDetail("flow", os.urandom(16).hex()))
    return list(backend.get_connection().save_logbook(book))


def seen_by(backend: JournalBackend, detail: models.FlowDetail) -> models.FlowDetail:
    return backend.get_connection().get_flow_details(detail.uuid)


def test_what_changes_while_nobody_runs_a_flow_is_committed_at_once(
    ours: JournalBackend, other: JournalBackend
) -> None:
    (detail,) = saved(ours)
    engines.save_factory_details(detail, steps, [], {}, backend=ours)
    assert "factory" in seen_by(other, detail).meta
    atom = models.TaskDetail("one", os.urandom(16).hex())
    detail.add(atom)
    ours.get_connection().update_flow_details(detail)
    atom.state, atom.results = states.SUCCESS, "by hand"
    ours.get_connection().update_atom_details(atom)
    (seen,) = seen_by(other, detail)
    assert (seen.state, seen.results) == (states.SUCCESS, "by hand")


def test_what_is_mended_of_a_flow_whose_process_died_is_committed_at_once(
    ours: JournalBackend, other: JournalBackend
) -> None:
    (detail,) = saved(ours)
    detail.state = states.RUNNING
    ours.get_connection().update_flow_details(detail)
    ours.close()  # in the midst of its run
    found = seen_by(other, detail)
    found.meta = {"mended": True}
    other.get_connection().update_flow_details(found)
    seen = seen_by(ours, detail)
    assert (seen.state, seen.meta) == (states.RUNNING, {"mended": True})
    assert other.flows == {}


def test_nothing_is_kept_of_flows_that_nobody_runs(ours: JournalBackend) -> None:
    details = saved(ours, flows=3)
    engines.save_factory_details(details[0], steps, [], {}, backend=ours)
    engines.load(steps(), flow_detail=details[1], backend=ours).run()
    assert (ours.flows, ours.flow_of_atom) == ({}, {})


def test_what_another_process_did_meanwhile_counts(ours: JournalBackend, other: JournalBackend) -> None:
    (detail,) = saved(ours)
    for name in ("one", "two"):
        atom = models.TaskDetail(name, os.urandom(16).hex())
        atom.state, atom.intention = states.PENDING, states.EXECUTE
        detail.add(atom)
    ours.get_connection().update_flow_details(detail)
    engines.load(steps(), flow_detail=seen_by(other, detail), backend=other).run()
    for atom in seen_by(ours, detail):
        atom.reset(states.PENDING)
        ours.get_connection().update_atom_details(atom)
    assert {atom.state for atom in seen_by(other, detail)} == {states.PENDING}
    assert {atom.results for atom in seen_by(other, detail)} == {None}


def test_a_flows_parameters_are_recorded_as_one(ours: JournalBackend, other: JournalBackend) -> None:
    (detail,) = saved(ours)
    injector = models.TaskDetail(Storage.injector_name, os.urandom(16).hex())
    detail.add(injector)
    ours.get_connection().update_flow_details(detail)
    assert list(seen_by(other, detail)) == [], "a flow with such an atom could not be loaded"
    injector.state, injector.results = states.SUCCESS, {"a": 1}
    ours.get_connection().update_atom_details(injector)
    assert [atom.results for atom in seen_by(other, detail)] == [{"a": 1}]


def test_no_atom_starts_when_nothing_can_be_recorded_and_the_flow_goes_on_later(
    ours: JournalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for saving in (
        Storage._save_atom_detail,
        Storage._save_flow_detail,
    ):  # TaskFlow tries three times, 5 s apart
        monkeypatch.setattr(saving.retry, "wait", tenacity.wait_none())
    (detail,) = saved(ours)
    FAIL_IN_STEP.append(ours)
    with pytest.raises(Exception, match="away for too long"):
        engines.load(steps(), flow_detail=detail, backend=ours).run()
    assert RAN == ["one"]
    FAIL_IN_STEP.clear()
    run = engines.load(steps(), flow_detail=seen_by(ours, detail), backend=ours)
    run.run()
    assert RAN == ["one", "one", "two"]
    assert seen_by(ours, detail).state == states.SUCCESS


def test_a_logbook_that_is_destroyed_while_all_are_read_is_left_out(
    ours: JournalBackend, other: JournalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = [models.LogBook(name) for name in ("stays", "goes")]
    for book in books:
        ours.get_connection().save_logbook(book)
    find = JournalConnection._find_logbook

    def find_later(connection: JournalConnection, book_id: str, *, lazy: bool) -> models.LogBook | None:
        if book_id == books[1].uuid:
            other.get_connection().destroy_logbook(book_id)
        return find(connection, book_id, lazy=lazy)

    monkeypatch.setattr(JournalConnection, "_find_logbook", find_later)
    assert [book.name for book in ours.get_connection().get_logbooks()] == ["stays"]


def test_a_flow_that_is_destroyed_while_it_runs_does_not_end_as_if_it_were_there(
    ours: JournalBackend, other: JournalBackend
) -> None:
    book = models.LogBook("book")
    book.add(models.FlowDetail("flow", os.urandom(16).hex()))
    ours.get_connection().save_logbook(book)
    run = engines.load(steps(), flow_detail=next(iter(book)), backend=ours)
    run.atom_notifier.register(
        states.SUCCESS,
        lambda state, details: (
            details["task_name"] == "one" and other.get_connection().destroy_logbook(book.uuid)
        ),
    )
    with pytest.raises(exc.NotFound):
        run.run()
    assert ours.flows == {}


def test_a_closed_backend_opens_again(ours: JournalBackend) -> None:
    (detail,) = saved(ours)
    run = engines.load(steps(), flow_detail=detail, backend=ours)
    ours.close()
    run.run()
    assert seen_by(ours, detail).state == states.SUCCESS


def test_a_forked_process_has_a_writer_and_connections_of_its_own(ours: JournalBackend) -> None:
    saved(ours)
    before = ours.writer
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with contextlib.suppress(BaseException):
            details = saved(ours, flows=2)  # two wait for the writer's thread
            ours.close()
            os._exit(7 if len(details) == 2 and ours.writer is not before else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert ours.writer is before
    assert len(list(ours.get_connection().get_logbooks())) == 2
