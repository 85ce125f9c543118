"""MariaDB and MySQL by PyMySQL: several statements in one text.

The connection must have been made with ``CLIENT.MULTI_STATEMENTS``. The server executes a text's statements one after
the other, answers each, and stops at the first that fails. Rows of an INSERT become one statement; of anything else,
one statement each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymysql.err import MySQLError

from jobrunner.persistence.pipelines.pipeline import NotHeld, Pipeline
from jobrunner.persistence.pipelines.statement import Row, Statement, Text

TEXT_BYTES = 1_000_000
"""A text is sent when it is about as long as this; a server takes 16 MiB at once, unless it is told to take less."""

OUT_OF_RANGE = 1690


class MysqlPipeline(Pipeline):
    """Statements gathered as text."""

    can_rely = True

    def __enter__(self) -> Pipeline:
        self._relies = False
        self._cursor = self._connection.cursor()
        self._texts: list[str] = []
        self._size = 0
        return self

    def rely(self, statement: Statement, values: Row) -> None:
        self._relies = True
        self.add(statement, [values])

    def _ask(self, text: Text, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        self._send()
        self._cursor.execute(text.sql, values)
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]

    def _add(self, text: Text, rows: list[tuple[Any, ...]]) -> None:
        for statement in self._inserts(text, rows) if text.values_at else self._singles(text, rows):
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
            said = self._values(row)
            more = _bytes(said)
            if values and size + more > TEXT_BYTES:
                yield f"{head}{','.join(values)}{tail}"
                values, size = [], 0
            values.append(said)
            size += more
        yield f"{head}{','.join(values)}{tail}"

    def _values(self, row: tuple[Any, ...]) -> str:
        """A row as SQL. The driver escapes what can need it; half of what is written is numbers and NULLs."""
        escape = self._connection.escape
        parts = [
            "NULL" if value is None else str(value) if type(value) is int else escape(value) for value in row
        ]
        return f"({','.join(parts)})"

    def _singles(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[str]:
        for row in rows:
            yield self._cursor.mogrify(text.sql, row)

    def _commit(self) -> None:
        self._texts.append("COMMIT")
        self._send()

    def _send(self) -> None:
        if not self._texts:
            return
        text = ";\n".join(self._texts)
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
