"""What the drivers' errors mean: run the transaction again, wait for the server, or give up.

The codes come from the manuals. MariaDB's 1205, 1213 and 1020 and PostgreSQL's 40001 and 40P01 ask for the whole
transaction again. A server that is full or read-only (a replica that was not promoted yet) counts as away: what is to
be written there will be written when somebody has seen to it.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_MYSQL_PASSING = {
    1020,  # the row has changed since it was read
    1205,  # lock wait timeout
    1213,  # dead lock
    1317,  # the query was killed
    1969,  # MariaDB: max_statement_time
    3024,  # MySQL: max_execution_time
    3572,  # NOWAIT
}
_MYSQL_AWAY = {
    1021,  # disk full
    1040,  # too many connections
    1047,  # Galera: not prepared
    1053,  # shutting down
    1077,
    1078,
    1079,
    1080,
    1114,  # table full
    1129,  # host blocked
    1152,  # aborted connection
    1158,  # network
    1159,
    1160,
    1161,
    1184,
    1203,  # too many connections of this user
    1226,
    1290,  # --read-only
    1836,  # read-only mode
    1927,  # connection killed
    2002,  # client: cannot connect
    2003,
    2006,  # client: server has gone away
    2013,  # client: lost during query
    2014,
    2045,
    2055,
    4031,  # MySQL: disconnected since idle
}
_MYSQL_FULL = {1021, 1114}
_MYSQL_CROWDED = {1040, 1203, 1226}
_MYSQL_READ_ONLY = {1047, 1290, 1836}
_MYSQL_REFUSED = {
    1044,  # no right to the database
    1045,  # wrong account or password
    1049,  # no such database
    1142,  # no right to the table
    1146,  # no such table
    1698,  # wrong account: it may only log in otherwise
}
_POSTGRES_REFUSED = {
    "28000",  # account
    "28P01",  # password
    "3D000",  # no such database
    "3F000",  # no such schema
    "42501",  # no right
    "42P01",  # no such table: renamed, not restored yet, or another schema comes first in search_path
}
_POSTGRES_PASSING = {
    "25P03",  # idle in transaction for too long
    "25P04",  # transaction_timeout
    "40001",  # serialisation
    "40P01",  # dead lock
    "55P03",  # lock timeout
    "57014",  # the query was cancelled
}
_POSTGRES_AWAY = {
    "25006",  # read-only
    "57P01",  # shutting down, or told to leave
    "57P02",  # crashed
    "57P03",  # starting
    "57P04",  # the database was dropped
    "57P05",  # idle for too long
}
_POSTGRES_READ_ONLY = "25006"
_POSTGRES_FULL = "53100"
_POSTGRES_CROWDED_WORDS = ("too many clients", "remaining connection slots", "too many connections")
"""Who cannot connect gets no code from the driver."""
_POSTGRES_UNWRITABLE = {"22021", "22P05"}  # bytes or characters that the database's encoding does not have
_MYSQL_UNWRITABLE = {
    1300,  # a character that is none in this character set
    3988,  # MySQL: it cannot be converted to the column's character set
}
_MYSQL_WRONG_VALUE = 1366
"""Also of numbers; of text that a column's character set does not have, it says so in these words."""
_MYSQL_WRONG_TEXT = "Incorrect string value"
_POSTGRES_AWAY_CLASSES = ("08", "53", "58")  # connection; disk, memory, connections used up; I/O
_SQLITE_PASSING = ("database is locked", "database table is locked", "database schema is locked")
_SQLITE_AWAY = (
    "unable to open database file",
    "disk I/O error",
    "database or disk is full",
    "attempt to write a readonly database",
)
_SQLITE_REFUSED = ("file is not a database", "database disk image is malformed")


def is_passing(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is run again: dead locks, lock timeouts, a busy SQLite."""
    original = getattr(error, "orig", None)
    if original is None:
        return False
    if _sqlstate(original) in _POSTGRES_PASSING or _mysql_code(original) in _MYSQL_PASSING:
        return True
    return any(words in str(original) for words in _SQLITE_PASSING)


def is_away(error: BaseException) -> bool:
    """Whether the server was not reached, cannot write now, or the connection broke.

    A commit under way at that moment is of unknown outcome.
    """
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    original = getattr(error, "orig", None)
    if original is None:
        return False
    if _mysql_code(original) in _MYSQL_AWAY:
        return True
    state = _sqlstate(original)
    if state is not None and (state in _POSTGRES_AWAY or state.startswith(_POSTGRES_AWAY_CLASSES)):
        return True
    if type(original).__module__.startswith("psycopg"):
        return isinstance(error, OperationalError) and state is None
    return any(words in str(original) for words in _SQLITE_AWAY)


def is_read_only(error: BaseException) -> bool:
    """Whether a server that was reached takes no writes: another may have taken its place, behind the same address."""
    original = getattr(error, "orig", None)
    if original is None:
        return False
    return _mysql_code(original) in _MYSQL_READ_ONLY or _sqlstate(original) == _POSTGRES_READ_ONLY


def is_full(error: BaseException) -> bool:
    """Whether the server's disk has no room; SQLite's own words for it say more."""
    original = getattr(error, "orig", None)
    return original is not None and (
        _mysql_code(original) in _MYSQL_FULL or _sqlstate(original) == _POSTGRES_FULL
    )


def is_crowded(error: BaseException) -> bool:
    """Whether the server has no connection left."""
    original = getattr(error, "orig", None)
    if original is None:
        return False
    said = str(original) if type(original).__module__.startswith("psycopg") else ""
    return _mysql_code(original) in _MYSQL_CROWDED or any(words in said for words in _POSTGRES_CROWDED_WORDS)


def is_refused(error: BaseException) -> bool:
    """Whether the server does not let this account do what it wants, or has no such database; or a file is none."""
    original = getattr(error, "orig", None)
    if original is None:
        return False
    if _mysql_code(original) in _MYSQL_REFUSED or _sqlstate(original) in _POSTGRES_REFUSED:
        return True
    return any(words in str(original) for words in _SQLITE_REFUSED)


def is_unwritable_text(error: BaseException) -> bool:
    """Whether text has a character that the encoding of the database, or of a column, has not."""
    original = getattr(error, "orig", None)
    if original is None:
        return False
    code = _mysql_code(original)
    if code == _MYSQL_WRONG_VALUE:
        return _MYSQL_WRONG_TEXT in str(original)
    return code in _MYSQL_UNWRITABLE or _sqlstate(original) in _POSTGRES_UNWRITABLE


def brief(error: BaseException) -> str:
    """The driver's own words, without SQLAlchemy's statement and link, or the line of it that PostgreSQL quotes."""
    original = getattr(error, "orig", None) or error
    if primary := getattr(getattr(original, "diag", None), "message_primary", None):
        return str(primary)
    if len(getattr(original, "args", ())) == 2 and isinstance(original.args[0], int):
        return f"{original.args[1]} ({original.args[0]})"
    return " ".join(str(original).split())


def _mysql_code(original: BaseException) -> int | None:
    code = original.args[0] if original.args else None
    return code if isinstance(code, int) and type(original).__module__.startswith("pymysql") else None


def _sqlstate(original: BaseException) -> str | None:
    state = getattr(original, "sqlstate", None)
    return state if isinstance(state, str) else None
