"""A place with job types to aim at, and a canary: a file that any code would leave that no posting may reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobrunner.assemble import make_context
from jobrunner.config import load_config
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs
from tests.support.command_line import CommandLine
from tests.support.conductors import FLOWS, ROOT, Cluster

TARGETS = Path(__file__).with_name("flows")


class Besieged(Cluster):
    """A cluster whose conductors know the targets, and where the canary would be."""

    def __init__(self, directory: Path, *, store_url: str, board_url: str | None = None) -> None:
        super().__init__(directory, store_url=store_url, board_url=board_url)
        self.canary = directory / "canary"
        self.environment["JOBRUNNER_FLOWS"] = os.pathsep.join(map(str, (FLOWS, TARGETS)))
        self.environment["HOSTILE_CANARY"] = str(self.canary)

    def _context(self) -> JobContext:
        environment = {key: value for key, value in self.environment.items() if key != "JOBRUNNER_FLOWS"}
        flags = {"flows.paths": [FLOWS, TARGETS]}
        return make_context(load_config(environ=environment, flags=flags).config)


@pytest.fixture
def besiege(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Besieged]]:
    """Makes a cluster; the test's own process knows where the canary would be as well."""
    monkeypatch.setenv("HOSTILE_CANARY", str(tmp_path / "canary"))
    with ExitStack() as stack:

        def make(store_url: str, board_url: str | None = None) -> Besieged:
            found = Besieged(tmp_path, store_url=store_url, board_url=board_url)
            stack.callback(found.close)
            return found

        yield make


@dataclass(frozen=True)
class Place:
    """An embedded store, for many tests: all of them leave it empty."""

    command_line: CommandLine
    url: str
    canary: Path

    def stored(self) -> int:
        database = Database(self.url)
        try:
            with database.read() as connection:
                return int(connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one())
        finally:
            database.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home}/jobrunner.sqlite"
    database = Database(url)
    upgrade(database)
    database.close()
    return Place(CommandLine(home), url, home / "canary")


@pytest.fixture
def context(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobContext]:
    """The use cases' context, as a program in this process has it."""
    monkeypatch.setenv("HOSTILE_CANARY", str(place.canary))
    environment = {"JOBRUNNER_PERSISTENCE__URL": place.url}
    found = make_context(load_config(environ=environment, flags={"flows.paths": [TARGETS]}).config)
    yield found
    found.close()


@pytest.fixture
def post_by_command(place: Place) -> Callable[..., object]:
    """Runs ``jobrunner post`` with these arguments."""

    def post(*arguments: str) -> object:
        return place.command_line(
            "post",
            *arguments,
            JOBRUNNER_FLOWS=str(TARGETS),
            JOBRUNNER_PERSISTENCE__URL=place.url,
            HOSTILE_CANARY=str(place.canary),
            PYTHONPATH=str(ROOT),
        )

    return post
