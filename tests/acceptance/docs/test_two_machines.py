"""The quickstart's second half on real servers: its SQL, its redis.conf, its configuration, its service."""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobrunner.cli.main import build_parser
from jobrunner.config import Config
from tests.support.command_line import CommandLine
from tests.support.markdown import blocks, page
from tests.support.servers import MariaDbServer, PostgresServer, RedisServer

QUICKSTART = page("quickstart.md")
CONDUCTORS = page("howto/run-conductors.md")


def statements(number: int, of: Path = QUICKSTART) -> list[str]:
    text = blocks(of, "sql")[number].text
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def machine(home: Path, configuration: str) -> CommandLine:
    home.mkdir()
    line = CommandLine(home)
    line.write({"jobrunner.toml": configuration})
    return line


@pytest.fixture
def board(private_redis: Callable[..., RedisServer]) -> Iterator[tuple[RedisServer, str]]:
    """A Redis with the quickstart's settings, and its password."""
    settings = dict(line.split() for line in blocks(QUICKSTART, "conf")[0].text.splitlines())
    password = settings.pop("requirepass")
    server = private_redis(**{name.replace("-", "_"): value for name, value in settings.items()})
    with server.client() as client:
        client.config_set("requirepass", password)
    yield server, password
    with redis.Redis(port=server.port, password=password) as client:
        client.config_set("requirepass", "")


def test_two_machines_with_mariadb_and_redis(
    board: tuple[RedisServer, str], private_mariadb: Callable[..., MariaDbServer], tmp_path: Path
) -> None:
    mariadb = private_mariadb()
    mariadb.execute(*statements(0))
    server, password = board
    (tmp_path / "board-password").write_text(f"{password}\n", encoding="utf-8")
    (tmp_path / "database-password").write_text("a long password\n", encoding="utf-8")
    configuration = (
        blocks(QUICKSTART, "toml")[0]
        .text.replace("board.example.org:6379", f"127.0.0.1:{server.port}")
        .replace("db.example.org", f"127.0.0.1:{mariadb.port}")
        .replace("/etc/jobrunner/", f"{tmp_path}/")
    )
    one, two = (machine(tmp_path / name, configuration) for name in ("one", "two"))

    before = one("doctor")
    assert before.code == 75
    assert "jobrunner db upgrade" in before.out
    assert one("db", "upgrade").code == 0
    examined = two("doctor")
    assert (examined.code, examined.err) == (0, "jobrunner: All is well.\n"), examined.out

    posted = one("post", "run_command", "--", "echo", "from one to two")
    assert posted.code == 0, posted.err
    ran = two("run", "--once", "--name", "two", "--processes", "1")
    assert ran.code == 0, ran.err
    job = one("status", posted.out.strip(), "--json").json
    assert (job["state"], job["node"]) == ("SUCCEEDED", "two")
    assert one("logs", posted.out.strip()).out == "from one to two\n"
    assert "a long password" not in one("config", "show").out


def test_postgresql_as_the_quickstart_makes_it(
    private_postgres: Callable[..., PostgresServer], jobrunner: CommandLine
) -> None:
    postgres = private_postgres()
    for statement in statements(1):
        postgres.execute(statement)
    jobrunner.write(
        {
            "password": "a long password",
            "jobrunner.toml": "[persistence]\n"
            f'url = "postgresql+psycopg://jobrunner@127.0.0.1:{postgres.port}/jobrunner"\npassword_file = "password"\n',
        }
    )
    assert jobrunner("db", "upgrade").code == 0
    posted = jobrunner("post", "run_command", "--", "true")
    assert jobrunner("run", "--once", "--processes", "1").code == 0
    assert jobrunner("wait", posted.out.strip()).code == 0


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_an_account_that_makes_no_tables_does_all_else(
    jobrunner: CommandLine, request: pytest.FixtureRequest, kind: str
) -> None:
    number = ["mariadb", "postgres"].index(kind)
    server = request.getfixturevalue(f"private_{kind}")()
    for statement in statements(number):
        server.execute(statement)
    driver = {"mariadb": "mysql+pymysql", "postgres": "postgresql+psycopg"}[kind]
    owner, rows = (
        f"{driver}://{account}@127.0.0.1:{server.port}/jobrunner"
        for account in ("jobrunner:a long password", "jobrunner_rows")
    )
    if kind == "postgres":  # the rights come first here, so that those to later tables are what counts
        grant_rows(server)
    else:
        server.execute(*statements(0, CONDUCTORS))
    assert jobrunner("db", "upgrade", "--persistence-url", owner).code == 0
    configuration = f'[persistence]\nurl = "{rows}"\npassword_file = "password"\n'
    jobrunner.write({"jobrunner.toml": configuration, "password": "another long password"})
    examined = jobrunner("doctor")
    assert (examined.code, examined.err) == (0, "jobrunner: All is well.\n"), examined.out
    posted = jobrunner("post", "run_command", "--hold", "disk", "--tag", "a=b", "--", "true")
    jobset = jobrunner(
        "post", "run_command", "--", "true", "--then", "run_command", "--retry", "1", "--", "true"
    )
    assert jobrunner("run", "--once", "--processes", "1").code == 0
    assert jobrunner("wait", posted.out.strip(), *jobset.out.split()).code == 0
    assert jobrunner("limits", "set", "disk", "1").code == 0
    assert jobrunner("prune", "--keep", "0").code == 0


def grant_rows(server: PostgresServer) -> None:
    create, *grants = statements(1, CONDUCTORS)
    server.execute(create)
    with server.connection("jobrunner", user="jobrunner") as connection:
        for grant in grants:
            connection.execute(grant.encode())


@pytest.mark.parametrize("name", ["quickstart.md", "howto/run-conductors.md"])
def test_the_service_fits_the_conductor(name: str) -> None:
    (block,) = blocks(page(name), "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    service = unit["Service"]
    program, *arguments = service["ExecStart"].split()
    assert Path(program).name == "jobrunner"
    assert build_parser().parse_args(arguments).command == "run"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > Config().conductor.grace
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert block.text == blocks(QUICKSTART, "ini")[0].text
