"""SQLite by the standard library's driver: every statement is executed at once, under the one write lock."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Text


class SqlitePipeline(Pipeline):
    """Statements executed as they come."""

    def __enter__(self) -> Pipeline:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def _ask(self, text: Text, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        with closing(self._connection.execute(text.sql, values)) as cursor:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _add(self, text: Text, rows: list[tuple[Any, ...]]) -> None:
        self._connection.executemany(text.sql, rows)

    def _commit(self) -> None:
        self._connection.execute("COMMIT")
