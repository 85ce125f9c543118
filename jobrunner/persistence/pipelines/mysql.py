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
        for template, given, size in self._inserts(text, rows) if text.values_at else _singles(text, rows):
            if self._size + size > TEXT_BYTES:
                self._send()
            self._texts.append(self._cursor.mogrify(template, given))
            self._size += size

    def _inserts(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any], int]]:
        """One INSERT of all rows; several, if they are long."""
        assert text.values_at is not None
        head, tail = text.sql[: text.values_at[0]], text.sql[text.values_at[1] :]
        templates: list[str] = []
        given: list[Any] = []
        size = 0
        for row in rows:
            more = _bytes(row)
            if templates and size + more > TEXT_BYTES:
                yield f"{head}{','.join(templates)}{tail}", given, size
                templates, given, size = [], [], 0
            templates.append(_template(row, given))
            size += more
        yield f"{head}{','.join(templates)}{tail}", given, size

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


def _singles(text: Text, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any], int]]:
    for row in rows:
        yield text.sql, list(row), len(text.sql) + _bytes(row)


def _template(row: tuple[Any, ...], given: list[Any]) -> str:
    """The row's values as text, but for those that the driver has to escape: they are added to ``given``.

    Half of what is written is numbers and NULLs; the driver takes its time for those as well.
    """
    parts = []
    for value in row:
        if value is None:
            parts.append("NULL")
        elif type(value) is int:
            parts.append(str(value))
        else:
            parts.append("%s")
            given.append(value)
    return f"({','.join(parts)})"


def _bytes(row: tuple[Any, ...]) -> int:
    """What the row takes on the wire, if everything in its texts has to be escaped."""
    size = 24 * len(row)
    for value in row:
        if isinstance(value, str):
            size += 2 * len(value) if value.isascii() else 2 * len(value.encode("utf-8", "replace"))
    return size
