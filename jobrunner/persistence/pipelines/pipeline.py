"""The contract of a pipeline: what every driver's promises."""

from __future__ import annotations

import abc
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sqlalchemy.engine import Dialect

from jobrunner.persistence.pipelines.statement import Row, Statement

log = logging.getLogger("jobrunner.sql")
"""Says what is sent, without its values, at DEBUG: one line a statement, with its number of rows, and one a COMMIT."""


class NotHeld(Exception):
    """What a transaction relied on is not so; nothing of it was done."""


class Pipeline(abc.ABC):
    """One write transaction on a driver's own connection; to be used by one thread, once.

    Entering it begins the transaction. Leaving it without ``commit`` leaves the transaction to whoever owns the
    connection: to be rolled back. Every method may raise the driver's errors; one raised by ``commit`` after COMMIT was
    sent leaves the outcome unknown.
    """

    can_rely = False
    """Whether ``rely`` is there: elsewhere ``ask``, and look at the answer."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self.dialect = "mysql" if dialect.name == "mariadb" else dialect.name
        """sqlite, mysql (which is MariaDB, too) or postgresql."""

    def ask(self, statement: Statement, values: Row) -> list[dict[str, Any]]:
        """Send everything that was added, and a query; its rows, by column. One round trip."""
        text = statement.text(self._dialect, values)
        self._say(text.sql, 1)
        return self._ask(text, text.bind(values))

    def add(self, statement: Statement, rows: Sequence[Row]) -> None:
        """Execute a statement for each of these rows, in order, with the next ``ask`` or ``commit``.

        A statement with an expanding parameter takes one row. No rows, nothing done.
        """
        if not rows:
            return
        text = statement.text(self._dialect, rows[0])
        self._say(text.sql, len(rows))
        self._add(text, [text.bind(row) for row in rows])

    def rely(self, statement: Statement, values: Row) -> None:
        """Add a query that fails, by a number out of range, if what the rest relies on is not so.

        It costs no round trip; ``commit`` (or ``ask``) raises NotHeld then, and nothing was done.
        """
        raise NotImplementedError

    def commit(self) -> None:
        """Send everything that was added, and COMMIT. One round trip, or one for each megabyte."""
        self._commit()
        log.debug("COMMIT")

    def _say(self, sql: str, rows: int) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s [%d]", " ".join(sql.split()), rows)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abc.abstractmethod
    def _ask(self, text: Any, values: Any) -> list[dict[str, Any]]: ...

    @abc.abstractmethod
    def _add(self, text: Any, rows: list[Any]) -> None: ...

    @abc.abstractmethod
    def _commit(self) -> None: ...
