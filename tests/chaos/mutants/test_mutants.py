"""A conductor with something broken is caught, and one with nothing broken is not; ``make mutants`` tries them all."""

from __future__ import annotations

import pytest

from tests.chaos.mutants.__main__ import Task, run
from tests.chaos.mutants.broken import MUTANTS
from tests.chaos.mutants.interleaving import forced
from tests.chaos.mutants.plans import PLANS
from tests.conftest import binaries_needed
from tests.support.servers import MariaDbServer, PostgresServer
from tests.support.servers.process import find_binary

SECONDS = 6.0

SERVERS = [
    pytest.param("mariadb", marks=pytest.mark.mariadb),
    pytest.param("postgres", marks=pytest.mark.postgresql),
]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> MariaDbServer | PostgresServer:
    found: MariaDbServer | PostgresServer = request.getfixturevalue(f"{request.param}_server")
    return found


def violated(server: MariaDbServer | PostgresServer, mutant: str | None) -> set[str]:
    return {tally.name for tally in forced(server, mutant) if tally.violations}


@pytest.mark.parametrize("mutant", ["unlocked_fence", "subquery_fence"])
def test_a_fence_without_a_lock_does_not_fence(server: MariaDbServer | PostgresServer, mutant: str) -> None:
    assert violated(server, mutant) == {"I4"}


def test_the_lock_does(server: MariaDbServer | PostgresServer) -> None:
    assert violated(server, None) == set()


@pytest.mark.redis
@pytest.mark.mariadb
def test_a_missing_barrier_is_found_in_a_few_seconds_of_chaos() -> None:
    for kind, program in (("redis", "redis-server"), ("mariadb", "mariadbd")):
        with binaries_needed(kind):
            find_binary(program)
    mutant = MUTANTS["no_barrier"]
    found = run(Task(plan=mutant.plan, mutant=mutant, seconds=SECONDS, seed=1, database="mariadb"))
    assert found.is_right, f"{found.line()}\n{found.failed}"


def test_every_mutant_has_a_plan() -> None:
    assert {mutant.plan for mutant in MUTANTS.values()} == {*PLANS, "interleaving"}
