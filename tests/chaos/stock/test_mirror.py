"""The table of jobs beside TaskFlow's own tells what TaskFlow recorded of each flow, and the history hears of it."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pytest
from taskflow import engines, task
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models

from jobrunner.model import flow_id
from tests.chaos import history
from tests.chaos.stock.system import Stock, factory_of
from tests.support.servers import MariaDbServer


class Step(task.Task):
    """Fails, if it is to."""

    def __init__(self, fails: bool) -> None:
        super().__init__("step")
        self._fails = fails

    def execute(self) -> None:
        if self._fails:
            raise ValueError("as it is meant to")


@pytest.mark.mariadb
@pytest.mark.parametrize(("fails", "end"), [(False, "SUCCEEDED"), (True, "REVERTED")])
def test_a_job_is_what_its_flow_is(
    mariadb_server: MariaDbServer, mariadb_url: str, fails: bool, end: str
) -> None:
    Stock().prepare(mariadb_url)
    name = urlsplit(mariadb_url).path[1:]
    history.install(mariadb_server, name)
    book = models.LogBook("some")
    flow = models.FlowDetail("some", flow_id(book.uuid, 1))
    book.add(flow)
    with contextlib.closing(backends.fetch({"connection": mariadb_url})) as backend:
        with contextlib.closing(backend.get_connection()) as connection:
            connection.save_logbook(book)
        with contextlib.suppress(ValueError):
            engines.run(
                linear_flow.Flow("some").add(Step(fails)), backend=backend, book=book, flow_detail=flow
            )
    changes = history.read(mariadb_server, name)
    states = [change.state for change in changes if change.table == "jobs" and change.row == book.uuid]
    assert (states[0], states[-1]) == ("WAITING", end)
    assert "RUNNING" in states
    assert {change.parent for change in changes if change.table == "atomdetails"} == {flow.uuid}


def test_factories_are_where_conductors_look_for_them() -> None:
    assert factory_of("chaos_poison") == "flows.chaos.poison.chaos_poison"
    assert factory_of("chaos_line") == "flows.chaos.steady.chaos_line"
