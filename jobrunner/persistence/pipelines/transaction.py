"""One transaction by a pipeline, over a connection of SQLAlchemy's pool."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from jobrunner.persistence.pipelines.mysql import MysqlPipeline
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.postgresql import PostgresqlPipeline
from jobrunner.persistence.pipelines.sqlite import SqlitePipeline

_KINDS: dict[str, type[Pipeline]] = {
    "sqlite": SqlitePipeline,
    "mysql": MysqlPipeline,
    "mariadb": MysqlPipeline,
    "postgresql": PostgresqlPipeline,
}


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[Pipeline]:
    """A write transaction: committed at the end, rolled back on an error. Nothing else may be open on ``connection``.

    Raises SQLAlchemy's DBAPIError for the driver's errors; a connection that broke is invalidated.
    """
    driver = connection.connection.driver_connection
    errors: Any = connection.dialect.loaded_dbapi.Error
    try:
        with _KINDS[connection.dialect.name](driver, connection.dialect) as pipeline:
            yield pipeline
            pipeline.commit()
    except errors as error:
        raise _failed(connection, driver, error, errors) from error
    except BaseException:
        _roll_back(driver, errors)
        raise


def _failed(connection: Connection, driver: Any, error: Any, errors: Any) -> Exception:
    lost = connection.dialect.is_disconnect(error, driver, None)
    said: Any = DBAPIError.instance(
        "(several statements)",
        None,
        error,
        errors,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=connection.dialect,
    )
    if lost:
        connection.invalidate(said)
    else:
        _roll_back(driver, errors)
    return cast(Exception, said)


def _roll_back(driver: Any, errors: Any) -> None:
    """A connection on which that fails is broken, and is found so by the next who uses it."""
    with contextlib.suppress(errors):
        driver.rollback()
