"""PostgreSQL by psycopg, in libpq's pipeline mode: answers are read when somebody wants them."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Text


class PostgresqlPipeline(Pipeline):
    """Statements sent without waiting for their answers; with a libpq older than 14, one after the other."""

    def __enter__(self) -> Pipeline:
        import psycopg

        self._mode: Any = (
            self._connection.pipeline() if psycopg.Pipeline.is_supported() else contextlib.nullcontext()
        )
        self._mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What went wrong first is what the caller has to know: leaving the mode would say that it was aborted. It is
        # not told of the error, or psycopg would log that as a warning of its own.
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            self._mode.__exit__(None, None, None)

    def _ask(self, text: Text, values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(text.sql, values)
            rows = cursor.fetchall()
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in rows]

    def _add(self, text: Text, rows: list[Any]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(text.sql, rows)

    def _commit(self) -> None:
        self._connection.commit()
