"""How who waits for TaskFlow's postings hears of them from PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from jobrunner.boards.sql_ears import PostgresEar
from jobrunner.boards.sql_line import Pulse
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import taskflow_postings as table

CHANNEL = "jobrunner_taskflow"
POSTED = "P"


def is_listed(namespace: str) -> sa.ColumnElement[bool]:
    """A condition: the job is on this board."""
    return sa.and_(table.c.namespace == namespace, table.c.status == POSTED)


class PostedEar(PostgresEar):
    """Hears the names of boards on which something was posted. Leases and delays are nobody's news here."""

    channel = CHANNEL

    def __init__(self, database: Database, namespace: str) -> None:
        super().__init__(database)
        self._namespace = namespace

    def _classes_in_line(self) -> set[str]:
        with self._database.read() as connection:
            found = connection.execute(sa.select(table.c.place).where(is_listed(self._namespace)).limit(1))
            return {self._namespace} if found.first() else set()

    def _settle_due(self) -> Pulse:
        return Pulse(now_ms=0, due_ms=None, newest_ms=None)
