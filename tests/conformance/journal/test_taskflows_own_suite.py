"""TaskFlow's own tests of a persistence backend, as TaskFlow ships them, on the journal."""

from __future__ import annotations

import contextlib

import pytest
from taskflow import test
from taskflow.persistence import backends
from taskflow.tests.unit.persistence.base import PersistenceTestMixin


class TaskFlowsSuite(PersistenceTestMixin):
    """Subclasses say on which database."""

    database = ""

    @pytest.fixture(autouse=True)
    def _on_a_new_database(self, request: pytest.FixtureRequest) -> None:
        self.url = "jobrunner+" + request.getfixturevalue(f"{self.database}_url")

    def setUp(self) -> None:
        super().setUp()
        self.backend = backends.fetch({"connection": self.url})
        self.addCleanup(self.backend.close)
        with contextlib.closing(self.backend.get_connection()) as connection:
            connection.upgrade()

    def _get_connection(self):
        return self.backend.get_connection()


class TestOnSqlite(TaskFlowsSuite, test.TestCase):
    database = "sqlite"


@pytest.mark.mariadb
class TestOnMariaDb(TaskFlowsSuite, test.TestCase):
    database = "mariadb"


@pytest.mark.postgresql
class TestOnPostgres(TaskFlowsSuite, test.TestCase):
    database = "postgres"
