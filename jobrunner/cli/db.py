"""``jobrunner db``: make and upgrade the database's tables, and tell whether they fit."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobrunner.cli import options, output
from jobrunner.errors import EXIT_OK, EXIT_UNAVAILABLE, StoreUnavailable

if TYPE_CHECKING:
    from jobrunner.persistence.schema import SchemaState
    from jobrunner.persistence.server.database import Database

UPGRADE = """\
Make jobrunner's tables, or bring those of an earlier version up to date. It is safe to run from several machines at
once, and again. Conductors of the last release may go on running meanwhile."""
CHECK = "Tell whether the database's tables fit this version of jobrunner. Nothing is changed."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "db",
        help="make, upgrade and check the database's tables",
        description="Look after the database's tables.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    upgrade = actions.add_parser(
        "upgrade", help="make the tables, or bring them up to date", description=UPGRADE
    )
    check = actions.add_parser(
        "check",
        help="tell whether the tables fit",
        description=CHECK,
        epilog="Exits with 0 if they do, with 75 if they do not or the database is away.",
    )
    for action in (upgrade, check):
        options.add_json(action)
    return parser


def run(args: argparse.Namespace) -> int:
    with _database(args) as database, _clear_refusals(database):
        return upgrade(args, database) if args.action == "upgrade" else check(args, database)


def upgrade(args: argparse.Namespace, database: Database) -> int:
    """Upgrade, and say from what to what."""
    from jobrunner.persistence import schema

    before = schema.schema_version(database)
    state = schema.schema_state(database)
    if state is not schema.SchemaState.NEWER:
        schema.upgrade(database)
    after = schema.schema_version(database)
    if args.json:
        output.print_json({"database": database.name, "before": before, "version": after})
    elif state is schema.SchemaState.NEWER:
        output.say(
            f"{database.name} was made by a later version of jobrunner ({after}) and is left as it is."
        )
    elif before is None:
        output.say(f"Made the tables in {database.name} (version {after}).")
    elif before == after:
        output.say(f"{database.name} is up to date already (version {after}).")
    else:
        output.say(f"Upgraded {database.name} from version {before} to {after}.")
    return EXIT_OK


def check(args: argparse.Namespace, database: Database) -> int:
    """Say how the tables are; 75 unless this version can use them as they are."""
    from jobrunner.persistence import schema

    there = _is_there(database)  # looking at a SQLite file would make it
    state = schema.schema_state(database) if there else schema.SchemaState.ABSENT
    version = schema.schema_version(database) if there else None
    if args.json:
        facts = {"database": database.name, "state": state.value, "version": version, "wanted": schema.HEAD}
        output.print_json(facts)
    else:
        output.say(_words(state, database.name, version))
    return EXIT_OK if state in (schema.SchemaState.CURRENT, schema.SchemaState.NEWER) else EXIT_UNAVAILABLE


def _words(state: SchemaState, name: str, version: str | None) -> str:
    words = {
        "absent": f"{name} has no tables of jobrunner yet. Make them: jobrunner db upgrade",
        "older": f"{name} is of an earlier version ({version}). Bring it up to date: jobrunner db upgrade",
        "current": f"{name} is up to date (version {version}).",
        "newer": f"{name} is of a later version ({version}); this version of jobrunner can use it for one release.",
    }
    return words[state.value]


def _is_there(database: Database) -> bool:
    from pathlib import Path

    file = database.url.database
    return database.dialect != "sqlite" or file is None or Path(file).exists()


@contextlib.contextmanager
def _database(args: argparse.Namespace) -> Iterator[Database]:
    from jobrunner.cli.context import load_config
    from jobrunner.persistence.server.database import Database

    config = load_config(args).config
    database = Database(config.store_url, pool_size=1)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _clear_refusals(database: Database) -> Iterator[None]:
    """What the server refuses (an account, a right, a database that does not exist) in its own words."""
    from sqlalchemy.exc import DBAPIError

    from jobrunner.persistence.server.faults import brief

    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(
            f"The database {database.name} refuses: {brief(error)}",
            hint="Does the database exist, and may the account in persistence.url make and change tables in it?",
        ) from error
