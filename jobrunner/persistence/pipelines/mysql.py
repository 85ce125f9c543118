"""MariaDB and MySQL by PyMySQL: several statements in one text.

The connection must have been made with ``CLIENT.MULTI_STATEMENTS``. The server executes a text's statements one after
the other, answers each, and stops at the first that fails. Rows of an INSERT become one statement; of anything else,
one statement each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Text

TEXT_BYTES = 1_000_000
"""A text is sent when it is about as long as this; a server takes 16 MiB at once, unless it is told to take less."""


class MysqlPipeline(Pipeline):
    """Statements gathered as text."""

    def __enter__(self) -> Pipeline:
        self._cursor = self._connection.cursor()
        self._texts: list[str] = []
        self._size = 0
        return self

    def _ask(self, text: Text, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        self._send()
        self._cursor.execute(text.sql, values)
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]

    def _add(self, text: Text, rows: list[tuple[Any, ...]]) -> None:
        for sql in self._inserts(text, rows) if text.values_at else self._singles(text, rows):
            size = _bytes(sql)
            if self._size + size > TEXT_BYTES:
                self._send()
            self._texts.append(sql)
            self._size += size

    def _singles(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[str]:
        for row in rows:
            yield self._cursor.mogrify(text.sql, row)

    def _inserts(self, text: Text, rows: list[tuple[Any, ...]]) -> Iterator[str]:
        """One INSERT of all rows; several, if they are long."""
        assert text.values_at is not None
        begin, end = text.values_at
        head, values, tail = text.sql[:begin], text.sql[begin:end], text.sql[end:] % ()
        found: list[str] = []
        size = 0
        for row in rows:
            literal = self._cursor.mogrify(values, row)
            more = _bytes(literal)
            if found and size + more > TEXT_BYTES:
                yield f"{head}{','.join(found)}{tail}"
                found, size = [], 0
            found.append(literal)
            size += more
        yield f"{head}{','.join(found)}{tail}"

    def _commit(self) -> None:
        self._texts.append("COMMIT")
        self._send()

    def _send(self) -> None:
        if not self._texts:
            return
        text = ";\n".join(self._texts)
        self._texts, self._size = [], 0
        self._cursor.execute(text)
        while self._cursor.nextset():
            pass


def _bytes(sql: str) -> int:
    """What it takes on the wire, with what stands between it and the next."""
    return 2 + (len(sql) if sql.isascii() else len(sql.encode()))
