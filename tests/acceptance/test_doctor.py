"""`jobrunner doctor` on real servers: what is wrong is told, with what to do about it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import warm
from tests.support.command_line import CommandLine, Done
from tests.support.servers import MariaDbServer, PostgresServer, RedisServer

BROKEN_PLUGIN = """
from jobrunner import job

def helper():
    raise RuntimeError("the licence server does not answer")

helper()
"""
UNRUNNABLE_PLUGIN = """
from taskflow.patterns import linear_flow
from jobrunner import job

@job(capabilities=["has_a_crystal_ball"])
def forecast():
    return linear_flow.Flow("forecast")
"""


def errors(done: Done) -> list[dict[str, Any]]:
    return [finding for finding in done.json["findings"] if finding["health"] == "error"]


def test_all_is_well_on_a_machine_where_nothing_was_done_yet(jobrunner: CommandLine) -> None:
    done = jobrunner("doctor")
    assert done.code == 0, done.out
    assert "No configuration: everything has its default." in done.out
    assert "backup_directory" in done.out
    assert "made at its first use" in done.out
    assert not list(jobrunner.home.rglob("*.sqlite*"))


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_all_is_well_on_upgraded_servers(
    jobrunner: CommandLine,
    request: pytest.FixtureRequest,
    kind: str,
    private_redis: Callable[..., RedisServer],
) -> None:
    urls = {
        "JOBRUNNER_BOARD__URL": private_redis(appendonly=True).url,
        "JOBRUNNER_PERSISTENCE__URL": request.getfixturevalue(f"{kind}_url"),
    }
    assert jobrunner("db", "upgrade", **urls).code == 0
    done = jobrunner("doctor", **urls)
    assert done.code == 0, done.out
    assert "Its tables fit this version of jobrunner." in done.out
    assert "Its settings are fine" in done.out
    assert "Its clock and this machine's agree." in done.out
    assert "It can be written to" in done.out
    assert done.err.strip() == "jobrunner: All is well."


def test_redis_that_may_evict_jobs_is_an_error(
    jobrunner: CommandLine, private_redis: Callable[..., RedisServer]
) -> None:
    server = private_redis(maxmemory_policy="allkeys-lru", maxmemory="100mb", appendonly=True)
    done = jobrunner("doctor", "--board-url", server.url, "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert found["area"] == "board"
    assert "maxmemory-policy is allkeys-lru" in found["what"]
    assert "noeviction" in found["hint"]


def test_board_that_is_away(jobrunner: CommandLine, free_port: int) -> None:
    done = jobrunner("doctor", "--board-url", f"redis://:secret@127.0.0.1:{free_port}/0", "--json")
    assert done.code == 75
    (found,) = errors(done)
    assert found["area"] == "board"
    assert found["hint"]
    assert str(free_port) in found["what"]
    assert "secret" not in done.out + done.err
    assert any(finding["area"] == "machine" for finding in done.json["findings"])


@pytest.mark.parametrize("scheme", ["mysql+pymysql", "postgresql+psycopg"])
def test_store_that_is_away_does_not_hide_the_board(
    jobrunner: CommandLine, free_port: int, redis_url: str, scheme: str
) -> None:
    store = f"{scheme}://me:secret@127.0.0.1:{free_port}/jobs"
    done = jobrunner("doctor", "--persistence-url", store, "--board-url", redis_url, "--json")
    assert done.code == 75
    (found,) = errors(done)
    assert found["area"] == "store"
    assert "is not available" in found["what"]
    assert "persistence.url" in found["hint"]
    assert "secret" not in done.out + done.err
    assert any("answers: 0 waiting" in finding["what"] for finding in done.json["findings"])


def test_database_that_was_not_upgraded(jobrunner: CommandLine, mariadb_url: str) -> None:
    done = jobrunner("doctor", "--persistence-url", mariadb_url, "--json")
    assert done.code == 75
    (found,) = errors(done)
    assert "has no tables of jobrunner yet" in found["what"]
    assert "jobrunner db upgrade" in found["hint"]


def test_tables_of_an_earlier_version_are_one_error_and_not_looked_into(
    jobrunner: CommandLine, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/jobs.sqlite"
    jobrunner("list", "--persistence-url", store)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        connection.execute("UPDATE jobrunner_version SET version_num = '0001'")
        connection.execute("ALTER TABLE nodes DROP COLUMN drained")
        connection.commit()
    done = jobrunner("doctor", "--persistence-url", store, "--json")
    assert done.code == 75
    (found,) = errors(done)
    assert "was made by an earlier version" in found["what"]


def test_account_that_the_database_refuses(jobrunner: CommandLine, mariadb_server: MariaDbServer) -> None:
    mariadb_server.execute("CREATE USER IF NOT EXISTS doctor_test@'%' IDENTIFIED BY 'right'")
    store = f"mysql+pymysql://doctor_test:wrong@127.0.0.1:{mariadb_server.port}/jobs"
    done = jobrunner("doctor", "--persistence-url", store, "--json")
    assert done.code == 75
    found = errors(done)[0]
    assert "Access denied" in found["what"]
    assert "account" in found["hint"]
    assert "wrong" not in done.out


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("mariadb", "DELETE on events", marks=pytest.mark.mariadb),
        pytest.param("postgres", "DELETE on events; USAGE on jobs_seq_seq", marks=pytest.mark.postgresql),
    ],
)
def test_rights_that_an_account_lacks(
    jobrunner: CommandLine, request: pytest.FixtureRequest, kind: str, expected: str
) -> None:
    server = request.getfixturevalue(f"private_{kind}")()
    store = server.create_database()
    assert jobrunner("db", "upgrade", "--persistence-url", store).code == 0
    name = store.rpartition("/")[2]
    if kind == "mariadb":
        tables = [row[0] for row in server.execute(f"SHOW TABLES FROM {name}")]
        grants = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.{table} TO weak" for table in tables]
        server.execute("CREATE USER weak", *grants, f"REVOKE DELETE ON {name}.events FROM weak")
    else:
        with server.connection(name) as connection:
            connection.execute(
                "CREATE ROLE weak LOGIN;"
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO weak;"
                "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO weak;"
                "REVOKE DELETE ON events FROM weak; REVOKE USAGE ON SEQUENCE jobs_seq_seq FROM weak"
            )
    weak = store.replace("root@", "weak@").replace("postgres@", "weak@")
    done = jobrunner("doctor", "--persistence-url", weak, "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert found["what"] == f"The account weak lacks rights: {expected}."
    assert "GRANT" in found["hint"]


def test_columns_that_lost_their_character_set(
    jobrunner: CommandLine, mariadb_server: MariaDbServer, mariadb_url: str
) -> None:
    assert jobrunner("db", "upgrade", "--persistence-url", mariadb_url).code == 0
    output = f"{urlsplit(mariadb_url).path[1:]}.job_output"
    mariadb_server.execute(f"ALTER TABLE {output} MODIFY text LONGTEXT CHARACTER SET latin1 NOT NULL")
    done = jobrunner("doctor", "--persistence-url", mariadb_url, "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert found["what"].endswith("cannot hold all text: job_output.text (latin1).")


def test_mariadb_that_may_lose_commits(
    jobrunner: CommandLine, private_mariadb: Callable[..., MariaDbServer]
) -> None:
    server = private_mariadb(innodb_flush_log_at_trx_commit=2, max_allowed_packet="1M")
    store = server.create_database()
    assert jobrunner("db", "upgrade", "--persistence-url", store).code == 0
    done = jobrunner("doctor", "--persistence-url", store, "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert "innodb_flush_log_at_trx_commit is 2" in found["what"]
    warnings = [finding["what"] for finding in done.json["findings"] if finding["health"] == "warning"]
    assert any("max_allowed_packet is 1048576" in what for what in warnings)


def test_postgresql_that_may_lose_commits(
    jobrunner: CommandLine, private_postgres: Callable[..., PostgresServer]
) -> None:
    server = private_postgres(synchronous_commit=False)
    store = server.create_database()
    assert jobrunner("db", "upgrade", "--persistence-url", store).code == 0
    done = jobrunner("doctor", "--persistence-url", store, "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert "synchronous_commit is off" in found["what"]


def test_board_of_another_database(jobrunner: CommandLine, redis_url: str) -> None:
    for name in ("one", "two"):
        code = jobrunner(
            "db", "upgrade", "--persistence-url", f"sqlite:///{jobrunner.home}/{name}.sqlite"
        ).code
        assert code == 0
    first = (
        "doctor",
        "--board-url",
        redis_url,
        "--persistence-url",
        f"sqlite:///{jobrunner.home}/one.sqlite",
    )
    assert jobrunner(*first).code == 0
    other = (*first[:-1], f"sqlite:///{jobrunner.home}/two.sqlite", "--json")
    done = jobrunner(*other)
    assert done.code == 1
    (found,) = errors(done)
    assert found["area"] == "board"
    assert found["hint"]


def test_broken_plugin_is_told_with_the_end_of_its_traceback(jobrunner: CommandLine) -> None:
    jobrunner.write({"flows/finance/invoices/flow.py": BROKEN_PLUGIN})
    done = jobrunner("doctor")
    assert done.code == 1
    assert "the licence server does not answer" in done.out
    assert "in helper" in done.out
    assert "flows.finance.invoices" in done.out
    assert "backup_directory" in done.out
    assert done.err.strip() == "jobrunner: 1 error."


def test_job_type_that_no_node_can_run(jobrunner: CommandLine) -> None:
    jobrunner.write({"flows/magic/forecast/flow.py": UNRUNNABLE_PLUGIN})
    done = jobrunner("doctor", "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert "'has_a_crystal_ball'" in found["what"]
    assert "no node can run forecast" in found["what"]


def test_configuration_that_contradicts_itself(jobrunner: CommandLine) -> None:
    jobrunner.write(
        {
            "jobrunner.toml": '[board]\nurl = "sqlite:////a.sqlite"\n[persistence]\nurl = "sqlite:////b.sqlite"\n'
        }
    )
    done = jobrunner("doctor")
    assert done.code == 1
    assert "contradict each other" in done.out
    assert "Mend the configuration first." in done.out


def test_quiet_prints_what_is_wrong_only(jobrunner: CommandLine) -> None:
    done = jobrunner("doctor", "--quiet", JOBRUNNER_BORD__URL="redis://host")
    assert done.code == 0
    assert "JOBRUNNER_BORD__URL has no effect" in done.out
    assert "Python" not in done.out


@pytest.fixture
def start_conductor(jobrunner: CommandLine) -> Iterator[Callable[[str], None]]:
    """Starts conductors by name; returns when each has said that it runs."""
    with ExitStack() as stack:

        def start(name: str) -> None:
            log = jobrunner.home / f"{len(list(jobrunner.home.glob('*.log')))}.log"
            with log.open("wb") as out:
                process = warm.start(
                    ["run", "--name", name, "--processes", "1"],
                    cwd=jobrunner.home,
                    env=jobrunner.environment(),
                    stdout=out,
                    stderr=out,
                )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            deadline = time.monotonic() + 30
            while f"conductor {name}:" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

        yield start


def test_conductors_are_told_and_two_of_one_name_are_a_warning(
    jobrunner: CommandLine, start_conductor: Callable[[str], None]
) -> None:
    assert jobrunner("db", "upgrade").code == 0
    start_conductor("alpha")
    done = jobrunner("doctor")
    assert done.code == 0
    assert "Living conductors: alpha." in done.out
    assert "Two conductors" not in done.out
    start_conductor("alpha")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 30
    while not found and time.monotonic() < deadline:  # they tell when each has heard the other twice
        done = jobrunner("doctor", "--json")
        assert done.code == 0
        found = [finding for finding in done.json["findings"] if "Two conductors" in finding["what"]]
        threading.Event().wait(0 if found else 0.3)
    (warning,) = found
    assert "under the name alpha" in warning["what"]
    assert "--name" in warning["hint"]


def test_file_of_another_program_is_an_error(jobrunner: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "theirs.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE jobs (title)")
    done = jobrunner("doctor", "--persistence-url", f"sqlite:///{file}", "--json")
    assert done.code == 1
    (found,) = errors(done)
    assert found["area"] == "store"
    assert "another program" in found["what"]
    listed = jobrunner("list", "--persistence-url", f"sqlite:///{file}")
    assert listed.code == 2
    assert "another program" in listed.err


def test_file_that_cannot_be_made_is_an_error(jobrunner: CommandLine, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    done = jobrunner("doctor", "--persistence-url", f"sqlite:///{in_the_way}/jobs/jobrunner.sqlite", "--json")
    (found,) = [finding for finding in errors(done) if finding["area"] == "store"]
    assert "cannot be made" in found["what"]
    assert done.code == 1
