"""The first tables. The column types are frozen here: tables.py may move on, this migration may not."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
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


def upgrade() -> None:
    op.create_table(
        "board",
        sa.Column("place", Key, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False, unique=True),
        sa.Column("class_key", Exact, nullable=False),
        sa.Column("status", sa.String(1), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("owner", Exact),
        sa.Column("entry", Text, nullable=False),
        **MYSQL,
    )
    op.create_index("board_due", "board", ["status", "due_ms"], postgresql_where=sa.text("status <> 'W'"))
    op.create_index("board_line", "board", ["status", "class_key", "score", "place"])
    op.create_index("board_owner", "board", ["owner"])
    op.create_table(
        "events",
        sa.Column("seq", Key, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", Ascii, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", Exact),
        sa.Column("data", Text),
        **MYSQL,
    )
    op.create_index("events_job", "events", ["job_id", "seq"])
    op.create_table(
        "job_output",
        sa.Column("seq", Key, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("atom", Exact),
        sa.Column("stream", Ascii, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("text", Text, nullable=False),
        **MYSQL,
    )
    op.create_index("job_output_job", "job_output", ["job_id", "seq"])
    op.create_index("job_output_place", "job_output", ["job_id", "attempt", "epoch", "position"], unique=True)
    op.create_table(
        "jobrunner_settings",
        sa.Column("name", Ascii, primary_key=True),
        sa.Column("value", Text, nullable=False),
        **MYSQL,
    )
    op.create_table(
        "jobs",
        sa.Column("seq", Key, primary_key=True, autoincrement=True),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("type", Exact, nullable=False),
        sa.Column("state", Ascii, nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("parameters", Text, nullable=False),
        sa.Column("factory", Text),
        sa.Column("properties", Text, nullable=False),
        sa.Column("capabilities", Text, nullable=False),
        sa.Column("node_pin", Exact),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("owner", Exact),
        sa.Column("node", Exact),
        sa.Column("cancel", Ascii),
        sa.Column("timeout", sa.Float()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("available_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger()),
        sa.Column("finished_ms", sa.BigInteger()),
        sa.Column("result", Text),
        sa.Column("error", Text),
        sa.Column("note", Text),
        sa.Column("author", Exact),
        sa.Column("idempotency_key", Exact, unique=True),
        **MYSQL,
    )
    op.create_index("jobs_created", "jobs", ["created_ms"])
    op.create_index("jobs_owner", "jobs", ["owner", "state"])
    op.create_index("jobs_state_seq", "jobs", ["state", "seq"])
    op.create_index("jobs_state_type_seq", "jobs", ["state", "type", "seq"])
    op.create_index("jobs_type_seq", "jobs", ["type", "seq"])
    op.create_table(
        "leases",
        sa.Column("name", Ascii, primary_key=True),
        sa.Column("holder", Exact, nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        **MYSQL,
    )
    op.create_table(
        "nodes",
        sa.Column("name", Exact, primary_key=True),
        sa.Column("identity", Exact, nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("stopped_ms", sa.BigInteger()),
        sa.Column("report", Text, nullable=False),
        **MYSQL,
    )


def downgrade() -> None:
    op.drop_table("nodes")
    op.drop_table("leases")
    op.drop_table("jobs")
    op.drop_table("jobrunner_settings")
    op.drop_table("job_output")
    op.drop_table("events")
    op.drop_table("board")
