"""A job's whole life: policies, attempts, tags, jobsets, links, signals, semaphores. The types are frozen as in 0001.

Every new column may be empty, so that conductors of the release before go on beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
Id = (
    sa.String(36)
    .with_variant(mysql.VARCHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    .with_variant(sa.String(36, collation="C"), "postgresql")
)
Ascii = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)
Exact = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


COLUMNS = (
    "expires_ms",
    "policies",
    "unique_key",
    "unique_over",
    "jobset_id",
    "parked",
    "parked_before",
    "awaits",
    "held",
    "adopted",
    "misfits",
    "usage",
    "failover_ms",
    "from_results",
)
PAGE = 500
TABLES = ("job_attempts", "job_tags", "jobsets", "job_links", "signals", "semaphores", "permits")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expires_ms", sa.BigInteger()))
    op.add_column("jobs", sa.Column("policies", Text))
    op.add_column("jobs", sa.Column("unique_key", Ascii))
    op.add_column("jobs", sa.Column("unique_over", Ascii))
    op.add_column("jobs", sa.Column("jobset_id", Id))
    op.add_column("jobs", sa.Column("parked", Ascii))
    op.add_column("jobs", sa.Column("parked_before", Ascii))
    op.add_column("jobs", sa.Column("awaits", Exact))
    op.add_column("jobs", sa.Column("held", sa.SmallInteger()))
    op.add_column("jobs", sa.Column("adopted", sa.SmallInteger()))
    op.add_column("jobs", sa.Column("misfits", sa.Integer()))
    op.add_column("jobs", sa.Column("usage", Text))
    op.add_column("jobs", sa.Column("failover_ms", sa.BigInteger()))
    op.add_column("jobs", sa.Column("from_results", sa.SmallInteger()))
    op.create_index("jobs_jobset", "jobs", ["jobset_id", "seq"])
    op.create_index("jobs_author_seq", "jobs", ["author", "seq"])
    op.create_index("jobs_unique_key", "jobs", ["unique_key"], unique=True)
    op.create_index(
        "jobs_failover",
        "jobs",
        ["node_pin", "failover_ms"],
        postgresql_where=sa.text("failover_ms IS NOT NULL"),
        sqlite_where=sa.text("failover_ms IS NOT NULL"),
    )
    op.add_column("nodes", sa.Column("drained", sa.SmallInteger()))
    op.add_column("nodes", sa.Column("free", sa.Float()))
    op.create_table(
        "job_attempts",
        sa.Column("job_id", Id, primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("state", Ascii, nullable=False),
        sa.Column("node", Exact),
        sa.Column("started_ms", sa.BigInteger()),
        sa.Column("finished_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", Text),
        sa.Column("error", Text),
        **MYSQL,
    )
    op.create_table(
        "job_tags",
        sa.Column("name", Exact, primary_key=True),
        sa.Column("value", Exact, primary_key=True),
        sa.Column("job_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        **MYSQL,
    )
    op.create_index("job_tags_job", "job_tags", ["job_seq"])
    op.create_index("job_tags_name", "job_tags", ["name", "job_seq"])
    op.create_table(
        "jobsets",
        sa.Column("seq", Key, primary_key=True, autoincrement=True),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("name", Exact),
        sa.Column("author", Exact),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        **MYSQL,
    )
    op.create_table(
        "job_links",
        sa.Column("job_id", Id, primary_key=True),
        sa.Column("after_id", Id, primary_key=True),
        sa.Column("condition", Ascii, nullable=False),
        **MYSQL,
    )
    op.create_index("job_links_after", "job_links", ["after_id"])
    op.create_table(
        "signals",
        sa.Column("seq", Key, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("name", Exact, nullable=False),
        sa.Column("data", Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("author", Exact),
        sa.Column("sent_key", Exact),
        sa.Column("taken_ms", sa.BigInteger()),
        **MYSQL,
    )
    op.create_index("signals_job", "signals", ["job_id", "seq"])
    op.create_index("signals_key", "signals", ["job_id", "sent_key"], unique=True)
    op.create_table(
        "semaphores",
        sa.Column("name", Exact, primary_key=True),
        sa.Column("count", sa.Integer()),
        sa.Column("starts", sa.Integer()),
        sa.Column("period_ms", sa.BigInteger()),
        sa.Column("started", Text),
        sa.Column("said", Text),
        sa.Column("configured", Text),
        **MYSQL,
    )
    op.create_table(
        "permits",
        sa.Column("job_id", Id, primary_key=True),
        sa.Column("semaphore", Exact, primary_key=True),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("shared", sa.SmallInteger(), nullable=False),
        sa.Column("granted", sa.SmallInteger(), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("set_id", Id),
        sa.Column("until_ms", sa.BigInteger()),
        **MYSQL,
    )
    op.create_index("permits_line", "permits", ["semaphore", "granted", "score"])
    fill_tags(op.get_bind())


def fill_tags(connection: sa.Connection) -> None:
    """Make the properties of jobs that were posted before searchable."""
    jobs = sa.table("jobs", sa.column("seq"), sa.column("properties"))
    tags = sa.table("job_tags", sa.column("name"), sa.column("value"), sa.column("job_seq"))
    after: int | None = 0
    while after is not None:
        page = sa.select(jobs).where(jobs.c.seq > after).order_by(jobs.c.seq).limit(PAGE)
        rows = connection.execute(page).all()
        found = [
            {"name": name, "value": value, "job_seq": row.seq}
            for row in rows
            if row.properties not in (None, "", "{}")
            for name, value in tags_of(row.properties)
        ]
        if found:
            connection.execute(tags.insert(), found)
        after = rows[-1].seq if rows else None


def tags_of(properties: str) -> Iterator[tuple[str, str]]:
    """As jobrunner.persistence.posting.tagging when this was written; a row that cannot be read has none."""
    try:
        content = json.loads(properties)
    except (ValueError, RecursionError):
        return
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, (bool, int, float)):
            value = json.dumps(value)
        if all(isinstance(text, str) and is_short(text) for text in (name, value)):
            yield name, value


def is_short(text: str) -> bool:
    return 0 < len(text) <= 255 and text.isprintable() and text == text.strip()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_column("nodes", "free")
    op.drop_column("nodes", "drained")
    op.drop_index("jobs_failover", "jobs")
    op.drop_index("jobs_unique_key", "jobs")
    op.drop_index("jobs_jobset", "jobs")
    op.drop_index("jobs_author_seq", "jobs")
    for column in COLUMNS:
        op.drop_column("jobs", column)
