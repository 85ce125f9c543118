"""The database's clock, which is one for all nodes, inside of a transaction."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.database import now_ms_of


def server_ms(pipeline: Pipeline) -> int:
    """Milliseconds since the epoch by the database's clock; one round trip."""
    [row] = pipeline.ask(_now(pipeline.dialect), {})
    return int(row["now_ms"])


@functools.cache
def _now(dialect: str) -> Statement:
    return Statement(sa.select(now_ms_of(dialect).label("now_ms")))
