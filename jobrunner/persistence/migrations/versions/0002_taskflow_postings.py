"""What TaskFlow programs post on a board in this database. The column types are frozen here, as in 0001."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
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
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "taskflow_postings",
        sa.Column("place", Key, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False, unique=True),
        sa.Column("namespace", Ascii, nullable=False),
        sa.Column("status", sa.String(1), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("owner", Ascii),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("posting", Text, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index(
        "taskflow_postings_line", "taskflow_postings", ["namespace", "status", "priority", "place"]
    )
    op.create_index("taskflow_postings_claims", "taskflow_postings", ["namespace", "until_ms"])


def downgrade() -> None:
    op.drop_table("taskflow_postings")
