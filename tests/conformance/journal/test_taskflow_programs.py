"""TaskFlow programs on the journal: the same outcome as with TaskFlow's backends, and each goes on with the other's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import engines, retry, states, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.persistence import backends, models

from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails

RAN: list[str] = []
SPARED = threading.Event()
"""While it is not set, ``Interrupted`` ends its engine as a crash would."""


class Add(task.Task):
    default_provides = "sum"

    def execute(self, a: int, b: int) -> int:
        RAN.append(self.name)
        return a + b

    def revert(self, *_: Any, **__: Any) -> None:
        RAN.append(f"undo {self.name}")


class Tell(task.Task):
    def execute(self, sum: int) -> dict[str, Any]:
        RAN.append(self.name)
        return {"text": f"é😀 {sum}", "list": [1, 2.5, None, True]}


class Fails(task.Task):
    def execute(self) -> None:
        RAN.append(self.name)
        raise ValueError("on purpose", 7)


class FailsUntil(task.Task):
    def execute(self, value: Any) -> Any:
        RAN.append(f"{self.name} {value}")
        if value != "c":
            raise ValueError(f"not {value}")
        return value


class Crash(BaseException):
    """What a crash is to an engine: nothing more is recorded."""


class Interrupted(task.Task):
    def execute(self) -> str:
        RAN.append(self.name)
        if not SPARED.is_set():
            raise Crash
        return "went on"


def linear() -> Any:
    return linear_flow.Flow("linear").add(Add("add"), Tell("tell", provides="told"))


def unordered() -> Any:
    return unordered_flow.Flow("unordered").add(*(Add(f"add-{n}", provides=f"sum-{n}") for n in range(5)))


def graph() -> Any:
    flow = graph_flow.Flow("graph")
    flow.add(Tell("tell", provides="told"), Add("add"), Add("other", provides="other"))
    return flow


def reverting() -> Any:
    return linear_flow.Flow("reverting").add(Add("add"), Fails("fails"))


def retried() -> Any:
    again = retry.ForEach(["a", "b", "c", "d"], "again", provides="value")
    return linear_flow.Flow("retried", retry=again).add(FailsUntil("until", provides="found"))


FLOWS = [linear, unordered, graph, reverting, retried]


def connection_of(url: str) -> str:
    return f"jobrunner+{url}"


@contextlib.contextmanager
def opened(connection: str) -> Iterator[Any]:
    with contextlib.closing(backends.fetch({"connection": connection})) as backend:
        with contextlib.closing(backend.get_connection()) as made:
            made.upgrade()
        yield backend


def story(backend: Any, make: Any, engine: str) -> tuple[Any, ...]:
    """All that can be seen of a run: results, states, failures, what ran."""
    RAN.clear()
    book, detail = (
        models.LogBook("book"),
        models.FlowDetail("flow", f"00000000-0000-0000-0000-{id(make):012x}"),
    )
    book.add(detail)
    with contextlib.closing(backend.get_connection()) as connection:
        connection.save_logbook(book)
    with ThreadPoolExecutor(4) as pool:  # TaskFlow's own pool takes a second to end
        options = {"engine": engine, "executor": pool} if engine == "parallel" else {"engine": engine}
        run = engines.load(make(), flow_detail=detail, backend=backend, store={"a": 2, "b": 3}, **options)
        raised = failure_of(run)
    with contextlib.closing(backend.get_connection()) as connection:
        found = connection.get_flow_details(detail.uuid)
    atoms = sorted(
        (atom.name, atom.state, atom.intention, results_of(atom), atom.failure and atom.failure.exception_str)
        for atom in found
    )
    return raised, found.state, run.storage.fetch_all(), atoms, sorted(RAN)


def failure_of(run: Any) -> str | None:
    try:
        run.run()
    except ValueError as error:
        return str(error)
    return None


def results_of(atom: models.AtomDetail) -> str:
    """TaskFlow's own backends read the histories of retries back wrong: those are left to a test of their own."""
    return "" if isinstance(atom, models.RetryDetail) else repr(atom.results)


@pytest.mark.parametrize("engine", ["serial", "parallel"])
def test_flows_run_as_with_taskflows_own_backend_in_memory(store_url: str, engine: str) -> None:
    with opened("memory") as memory, opened(connection_of(store_url)) as journal:
        for make in FLOWS:
            assert story(journal, make, engine) == story(memory, make, engine)


def test_a_retrys_history_comes_back_as_it_was(store_url: str) -> None:
    with opened(connection_of(store_url)) as backend:
        story(backend, retried, "serial")
    with (
        opened(connection_of(store_url)) as backend,
        contextlib.closing(backend.get_connection()) as connection,
    ):
        (book,) = connection.get_logbooks()
        history = next(atom for atom in next(iter(book)) if isinstance(atom, models.RetryDetail)).results
    assert [value for value, _ in history] == ["a", "b", "c"]
    assert [list(failures) for _, failures in history] == [["until"], ["until"], []]
    assert history[0][1]["until"].exception_str == "not a"


def crashing() -> Any:
    again = retry.ForEach(["a", "b", "c", "d"], "again", provides="value")
    return linear_flow.Flow("crashing").add(
        Add("add"),
        linear_flow.Flow("inner", retry=again).add(FailsUntil("until", provides="found")),
        Interrupted("interrupted", provides="last"),
        Tell("tell", provides="told"),
    )


def crash_with(connection: str) -> tuple[str, str]:
    RAN.clear()
    SPARED.clear()
    book, detail = models.LogBook("book"), models.FlowDetail("flow", "00000000-0000-0000-0000-000000000001")
    book.add(detail)
    with opened(connection) as backend:
        with contextlib.closing(backend.get_connection()) as made:
            made.save_logbook(book)
        run = engines.load(crashing(), flow_detail=detail, backend=backend, store={"a": 2, "b": 3})
        with pytest.raises(Crash):
            run.run()
    return book.uuid, detail.uuid


def go_on_with(connection: str, book_id: str, flow_id: str) -> tuple[Any, list[str]]:
    RAN.clear()
    SPARED.set()
    with opened(connection) as backend:
        with contextlib.closing(backend.get_connection()) as made:
            detail = made.get_logbook(book_id).find(flow_id)
        run = engines.load(crashing(), flow_detail=detail, backend=backend)
        run.run()
        return run.storage.fetch_all(), list(RAN)


def states_in(url: str) -> dict[str, str]:
    database = Database(url)
    with database.read() as connection:
        rows = connection.execute(sa.select(atomdetails.c.name, atomdetails.c.state)).all()
    database.close()
    return {row.name: row.state for row in rows}


@pytest.mark.parametrize("direction", ["ours first", "ours last", "ours only"])
def test_a_flow_that_one_began_the_other_finishes(store_url: str, direction: str) -> None:
    journal = connection_of(store_url)
    first, last = {
        "ours first": (journal, store_url),
        "ours last": (store_url, journal),
        "ours only": (journal, journal),
    }[direction]
    with opened(journal):  # makes the tables as ours are
        pass
    ids = crash_with(first)
    assert states_in(store_url)["interrupted"] == states.RUNNING
    found, ran = go_on_with(last, *ids)
    assert ran == ["interrupted", "tell"]
    assert (found["sum"], found["found"], found["last"]) == (5, "c", "went on")
    assert found["told"] == {"text": "é😀 5", "list": [1, 2.5, None, True]}
    assert set(states_in(store_url).values()) == {states.SUCCESS}
