"""Alembic's entry: runs the migrations on the connection that persistence/schema.py hands over."""

from __future__ import annotations

from alembic import context

from jobrunner.persistence.schema import VERSION_TABLE
from jobrunner.persistence.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection is None,
)
with context.begin_transaction():
    context.run_migrations()
