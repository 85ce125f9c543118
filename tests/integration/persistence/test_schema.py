"""Making and upgrading tables, by one or by several at once, and what fits what."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from taskflow.persistence.backends.sqlalchemy import tables as taskflow_tables

import jobrunner.persistence
from jobrunner.errors import ConfigError, NotStorable, SchemaOutOfDate, StoreUnavailable
from jobrunner.model import Posting
from jobrunner.passwords import with_password
from jobrunner.persistence import schema
from jobrunner.persistence.job_rows import row_of_posting
from jobrunner.persistence.schema import SchemaState, require_schema, schema_state, upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import JobFilter, Store
from jobrunner.persistence.tables import metadata, settings, taskflow_metadata
from tests.support.journals import staged
from tests.support.servers import MariaDbServer, PostgresServer

MIGRATIONS = Path(jobrunner.persistence.__file__).with_name("migrations")
UPGRADE = (
    "import sys; from jobrunner.persistence.server.database import Database; "
    "from jobrunner.persistence.schema import upgrade; upgrade(Database(sys.argv[1]))"
)


@pytest.fixture
def empty(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


@pytest.fixture
def made(empty: Database) -> Database:
    upgrade(empty)
    return empty


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :v"), {"v": version})


def test_upgrading_twice_changes_nothing(empty: Database) -> None:
    assert schema_state(empty) is SchemaState.ABSENT
    upgrade(empty)
    assert schema_state(empty) is SchemaState.CURRENT
    identity = Store(empty).id
    upgrade(empty)
    assert schema_state(empty) is SchemaState.CURRENT
    assert Store(empty).id == identity


def test_a_database_of_the_first_version_is_brought_up_to_date(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(schema, "_upgrade_ours", lambda connection: upgrade_ours_to(connection, "0001"))
        upgrade(empty)
    assert schema_state(empty) is SchemaState.OLDER
    identity = Store(empty).id
    properties = {"team": "web", "size": 3, "list": [1], "long": "x" * 256}
    row = row_of_posting(Posting(type="kept", properties=properties), 1)
    job_id = row["id"]
    first = {name: value for name, value in row.items() if value is not None}
    columns = ", ".join(first)
    insert = sa.text(f"INSERT INTO jobs ({columns}) VALUES ({', '.join(':' + name for name in first)})")
    empty.retrying(lambda connection: connection.execute(insert, first))
    with pytest.raises(SchemaOutOfDate):
        require_schema(empty)
    upgrade(empty)
    assert (schema_state(empty), Store(empty).id) == (SchemaState.CURRENT, identity)
    assert Store(empty).get(job_id).type == "kept"
    for tags, number in (({"team": "web", "size": "3"}, 1), ({"list": None}, 0), ({"long": None}, 0)):
        assert len(Store(empty).page(JobFilter(tags=tags))[0]) == number
    with empty.read() as connection:
        assert sa.inspect(connection).has_table("taskflow_postings")


def upgrade_ours_to(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_several_processes_may_upgrade_at_once(store_url: str, empty: Database) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, store_url], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    problems = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], problems
    assert schema_state(empty) is SchemaState.CURRENT
    with empty.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(settings)).scalar() == 1


def test_tables_and_migrations_describe_the_same(made: Database) -> None:
    ours = set(metadata.tables)

    def only_ours(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        return kind != "table" or name in ours

    with made.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": only_ours, "compare_type": True, "compare_server_default": True},
        )
        assert compare_metadata(context, metadata) == []


def test_a_column_that_only_one_of_them_has_would_be_found(made: Database) -> None:
    changed = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["jobs"].append_column(sa.Column("colour", sa.Text))
    with made.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda thing, name, kind, *_: kind != "table" or name == "jobs"},
        )
        found = compare_metadata(context, changed)
    assert [difference[0] for difference in found] == ["add_column"]


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_our_description_of_taskflows_tables_is_taskflows() -> None:
    theirs = sa.MetaData()
    taskflow_tables.fetch(theirs)
    assert set(taskflow_metadata.tables) == set(theirs.tables)
    for name, table in theirs.tables.items():
        ours = taskflow_metadata.tables[name]
        assert {column.name: shape(column) for column in ours.c} == {
            column.name: shape(column) for column in table.c
        }


def shape(column: sa.Column) -> tuple[object, ...]:
    kind = column.type
    while isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance
    enum = tuple(kind.enums) if isinstance(kind, sa.Enum) else None
    length = kind.length if isinstance(kind, sa.String) and enum is None else None
    family = "text" if isinstance(kind, sa.Text) else "enum" if enum else type(kind).__name__
    keys = sorted(key.target_fullname for key in column.foreign_keys)
    return family, length, enum and tuple(sorted(enum)), column.primary_key, column.nullable, keys


def test_atoms_are_found_by_their_flow_by_index(made: Database) -> None:
    with made.read() as connection:
        for table in ("flowdetails", "atomdetails"):
            indexes = sa.inspect(connection).get_indexes(table)
            assert [True for index in indexes if index["column_names"][0] == "parent_uuid"]


def test_a_server_without_tables_is_told_what_to_do(empty: Database) -> None:
    if empty.dialect == "sqlite":
        require_schema(empty)
        assert schema_state(empty) is SchemaState.CURRENT
        return
    with pytest.raises(SchemaOutOfDate, match="has no tables") as caught:
        require_schema(empty)
    assert "jobrunner db upgrade" in str(caught.value.hint)


def test_an_older_database_is_told_what_to_do(made: Database) -> None:
    set_version(made, "0000")
    assert schema_state(made) is SchemaState.OLDER
    with pytest.raises(SchemaOutOfDate, match="earlier version") as caught:
        require_schema(made)
    assert "jobrunner db upgrade" in str(caught.value.hint)


def test_a_newer_database_runs_and_is_left_as_it_is(made: Database) -> None:
    set_version(made, "0999")
    assert schema_state(made) is SchemaState.NEWER
    require_schema(made)
    upgrade(made)
    assert schema.schema_version(made) == "0999"
    with staged(made.url.render_as_string(hide_password=False)) as stage:
        recorded = stage.flow()
        recorded.finish()
        recorded.journal.barrier()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ],
)
def test_who_waits_too_long_for_another_upgrade_is_told(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(request.getfixturevalue(f"{kind}_url"))
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_S", 1)
    with (
        database.engine.connect() as other,
        schema._only_one(other, database.dialect),
        pytest.raises(SchemaOutOfDate, match="Another process"),
    ):
        upgrade(database)
    upgrade(database)
    assert schema_state(database) is SchemaState.CURRENT
    database.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_all_text_is_refused(
    postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"test_{encoding.lower()}"
    postgres_server.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    url = f"{postgres_server.url.rpartition('/')[0]}/{name}"
    database = Database(url)
    try:
        with pytest.raises(ConfigError, match=f"encoding {encoding}") as refused:
            upgrade(database)
        assert "UTF8" in str(refused.value.hint)
        assert schema_state(database) is SchemaState.ABSENT
    finally:
        database.close()
        postgres_server.drop_database(url)


def test_tables_in_such_a_database_are_kept_up_and_what_does_not_fit_is_told(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_server.execute(
        "CREATE DATABASE test_old ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    url = f"{postgres_server.url.rpartition('/')[0]}/test_old"
    database = Database(url)
    try:
        with monkeypatch.context() as before:
            before.setattr(schema, "_require_encoding", lambda *args: None)
            upgrade(database)
        upgrade(database)
        store = Store(database)
        store.insert([Posting(type="t", author="Jürgen")], now_ms=1)
        with pytest.raises(NotStorable, match="cannot hold this text"):
            store.insert([Posting(type="t", author="żółw")], now_ms=1)
    finally:
        database.close()
        postgres_server.drop_database(url)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_client_encoding_of_the_role_or_the_database_is_not_asked(
    postgres_server: PostgresServer, postgres_url: str, encoding: str
) -> None:
    postgres_server.execute(
        f"ALTER DATABASE {postgres_url.rpartition('/')[2]} SET client_encoding = '{encoding}'"
    )
    database = Database(postgres_url)
    upgrade(database)
    store = Store(database)
    [(job_id, _)] = store.insert([Posting(type="t", author="żółw")], now_ms=1)
    assert store.get(job_id).author == "żółw"
    database.close()


def test_bounds_of_time_of_the_database_do_not_end_what_may_take_long(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    for bound in ("statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"):
        postgres_server.execute(f"ALTER DATABASE {name} SET {bound} = '9s'")
    migrating, usual = Database(postgres_url, answer_timeout=None), Database(postgres_url)
    assert _shown(migrating, "statement_timeout") == "0"
    assert _shown(migrating, "idle_in_transaction_session_timeout") == "0"
    assert _shown(usual, "statement_timeout") == "9s"
    assert _shown(usual, "idle_in_transaction_session_timeout") == "15s"
    assert _shown(migrating, "idle_session_timeout") == _shown(usual, "idle_session_timeout") == "0"
    migrating.close()
    usual.close()


def test_a_table_that_is_gone_counts_as_a_refusal_that_somebody_has_to_see_to(made: Database) -> None:
    if made.dialect == "sqlite":
        pytest.skip("nobody takes tables out of a file that is in use")
    with made.write() as connection:
        connection.execute(sa.text("ALTER TABLE jobs RENAME TO jobs_of_before"))
    with pytest.raises(StoreUnavailable, match="refuses") as refused:
        Store(made).insert([Posting(type="t")], now_ms=1)
    assert "jobs" in refused.value.message
    assert "LINE" not in refused.value.message
    with made.write() as connection:
        connection.execute(sa.text("ALTER TABLE jobs_of_before RENAME TO jobs"))
    Store(made).insert([Posting(type="t")], now_ms=1)


def _shown(database: Database, setting: str) -> str:
    with database.read() as connection:
        return str(connection.exec_driver_sql(f"SHOW {setting}").scalar())


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://nobody:secret@127.0.0.1:1/none",
        "postgresql://nobody:secret@127.0.0.1:1/none",
        "sqlite:////proc/none/at/all.sqlite",
    ],
)
def test_a_server_that_is_away_is_named_without_its_password(url: str) -> None:
    database = Database(url)
    for work in (upgrade, schema_state, lambda away: Store(away).insert([Posting(type="t")], now_ms=1)):
        with pytest.raises(StoreUnavailable, match="not available") as caught:
            work(database)
        assert "secret" not in str(caught.value)
    database.close()


def test_a_file_that_is_no_database_is_told_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    file.write_text("hello " * 1000)
    with pytest.raises(StoreUnavailable, match="refuses: file is not a database") as caught:
        upgrade(Database(f"sqlite:///{file}"))
    assert "right file" in (caught.value.hint or "")


def test_a_sqlite_file_that_cannot_be_made_is_told_in_words_that_fit_a_file(tmp_path: Path) -> None:
    (tmp_path / "directory").touch()
    with pytest.raises(StoreUnavailable, match="unable to open database file") as caught:
        upgrade(Database(f"sqlite:///{tmp_path}/directory/jobs.sqlite"))
    assert "write the file and its directory" in (caught.value.hint or "")


@pytest.mark.parametrize("password", ["wörd", "w€rd p@ss:/%"])
def test_passwords_may_hold_any_character(mariadb_server: MariaDbServer, password: str) -> None:
    user = f"unicode_{'o' if 'ö' in password else 'e'}"
    with mariadb_server.connection(charset="utf8mb4") as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {user}@'%'")
        cursor.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", [password])
    database = Database(with_password(f"mysql+pymysql://{user}@127.0.0.1:{mariadb_server.port}", password))
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    database.close()


def test_the_clocks_of_the_databases_are_right(made: Database) -> None:
    import time

    with made.read() as connection:
        before = time.time() * 1000
        now = connection.execute(sa.select(made.now_ms())).scalar_one()
        assert before - 10 <= now <= time.time() * 1000 + 10


def test_a_database_in_memory_is_shared_by_threads() -> None:
    with_memory = Database("sqlite://")
    upgrade(with_memory)
    with staged("sqlite://") as stage:
        upgrade(stage.database)
        flows = [stage.flow() for _ in range(3)]
        for recorded in flows:
            recorded.finish()
        stage.writer.flush(*(recorded.journal for recorded in flows))
        assert [stage.atom(recorded)["results"] for recorded in flows] == ['"done"'] * 3
    with_memory.close()


@pytest.mark.parametrize(
    "url",
    [
        "oracle://x/y",
        "no url",
        "mysql://u@h:port/d",
        "mysql+nodriver://u:secret@h/d",
        "nothing+nodriver://u:secret@h/d",
        "mysql://u:half@secret@h/d",
        "sqlite:////home/\udcc3\udc84/x.sqlite",
    ],
)
def test_a_url_that_names_nothing_we_know_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"persistence\.url") as refused:
        Database(url)
    assert "secret" not in refused.value.message
    assert refused.value.hint


def test_another_programs_tables_are_left_alone(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(sa.text("CREATE TABLE jobs (title VARCHAR(9))"))
    with pytest.raises(ConfigError, match=r"tables of another program.*: jobs\.") as raised:
        upgrade(empty)
    assert "persistence.url" in str(raised.value.hint)
    with empty.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["jobs"]
