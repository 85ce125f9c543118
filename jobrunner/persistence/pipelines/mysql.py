"""MariaDB and MySQL by PyMySQL: several statements in one text.

The connection must have been made with ``CLIENT.MULTI_STATEMENTS``. The server executes a text's statements one after
the other, and stops at the first that fails. MySQL answers each of them; MariaDB takes them as one compound statement
and answers once, which spares us most of the work of reading. Rows of an INSERT become one statement; of anything else,
one statement each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymysql.constants.SERVER_STATUS import SERVER_STATUS_NO_BACKSLASH_ESCAPES as NO_BACKSLASH_ESCAPES
from pymysql.err import MySQLError

from jobrunner.persistence.pipelines.pipeline import NotHeld, Pipeline
from jobrunner.persistence.pipelines.statement import Row, Statement, Text

TEXT_BYTES = 1_000_000
"""A text is sent when it is about as long as this; a server takes 16 MiB at once, unless it is told to take less."""

OUT_OF_RANGE = 1690

_BACKSLASH, _TWO_BACKSLASHES = "\\", "\\\\"
_QUOTE, _TWO_QUOTES = "'", "''"


class MysqlPipeline(Pipeline):
    """Statements gathered as text."""

    can_rely = True

    def __enter__(self) -> Pipeline:
        self._relies = False
        self._cursor = self._connection.cursor()
        self._compounds: bool = self._dialect.is_mariadb  # type: ignore[attr-defined]
        # How the server reads a backslash is told with each of its answers.
        self._backslashes = not self._connection.server_status & NO_BACKSLASH_ESCAPES
        self._texts: list[str] = []
        self._size = 0
        return self

    def rely(self, statement: Statement, values: Row) -> None:
        self._relies = True
        text = statement.text(self._dialect, values)
        self._say(text.sql, 1)
        query = self._filled(text.sql, text.bind(values))
        # A variable is set without an answer of columns and rows; it means nothing to anybody.
        self._append(f"SET @relied = ({query})" if self._compounds else query)

    def _ask(self, text: Text, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        self._send()
        self._cursor.execute(self._filled(text.sql, values))
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]

    def _add(self, text: Text, rows: list[tuple[Any, ...]]) -> None:
        for statement in self._inserts(text, rows) if text.values_at else self._singles(text, rows):
            self._append(statement)

    def _append(self, statement: str) -> None:
        size = _bytes(statement)
        if self._size + size > TEXT_BYTES:
            self._send()
        self._texts.append(statement)
        self._size += size

    def _inserts(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[str]:
        """One INSERT of all rows; several, if they are long."""
        assert text.values_at is not None
        head, tail = text.sql[: text.values_at[0]], text.sql[text.values_at[1] :]
        values: list[str] = []
        size = 0
        for row in rows:
            said = f"({','.join(map(self._literal, row))})"
            more = _bytes(said)
            if values and size + more > TEXT_BYTES:
                yield f"{head}{','.join(values)}{tail}"
                values, size = [], 0
            values.append(said)
            size += more
        yield f"{head}{','.join(values)}{tail}"

    def _singles(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[str]:
        for row in rows:
            yield self._filled(text.sql, row)

    def _filled(self, sql: str, values: tuple[Any, ...]) -> str:
        return sql % tuple(map(self._literal, values))

    def _literal(self, value: Any) -> str:
        """A value as SQL; the driver knows how for all kinds, but takes five times as long for the common ones."""
        kind = type(value)
        if kind is str and self._backslashes:
            return f"'{value.replace(_BACKSLASH, _TWO_BACKSLASHES).replace(_QUOTE, _TWO_QUOTES)}'"
        if value is None:
            return "NULL"
        if kind is int:
            return str(value)
        literal: str = self._connection.escape(value)
        return literal

    def _commit(self) -> None:
        self._texts.append("COMMIT")
        self._send()

    def _send(self) -> None:
        if not self._texts:
            return
        text = ";\n".join(self._texts)
        if self._compounds and len(self._texts) > 1:
            text = f"BEGIN NOT ATOMIC\n{text};\nEND"
        self._texts, self._size = [], 0
        try:
            self._cursor.execute(text)
            while self._cursor.nextset():
                pass
        except MySQLError as error:
            if self._relies and error.args[:1] == (OUT_OF_RANGE,):
                raise NotHeld from error
            raise


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
