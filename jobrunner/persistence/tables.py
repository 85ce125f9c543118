"""The tables of the store.

TaskFlow's own three (``logbooks``, ``flowdetails``, ``atomdetails``) are described here once more, column by column,
because importing TaskFlow costs a command line more than the query; a test compares them with TaskFlow's. They are
made by TaskFlow's migrations. The others are ours, made by the migrations beside this module.

Sizes on MariaDB/MySQL, in bytes: TEXT 65,535; MEDIUMTEXT 16 Mi; LONGTEXT 4 Gi.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData()
"""Ours."""

taskflow_metadata = sa.MetaData()
"""TaskFlow's."""

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
_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
"""Binary collation: ids or keys that differ in case or accents are two. No index depends on a locale."""

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", Key, primary_key=True, autoincrement=True),  # order of posting; pages and locks go by it
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("type", Exact, nullable=False),
    sa.Column("state", Ascii, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("parameters", Text, nullable=False),
    sa.Column("factory", Text),
    sa.Column("properties", Text, nullable=False),
    sa.Column("capabilities", Text, nullable=False),
    sa.Column("node_pin", Exact),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False),  # owners that died with the job in this attempt
    sa.Column("owner", Exact),
    sa.Column("node", Exact),
    sa.Column("cancel", Ascii),
    sa.Column("timeout", sa.Float),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("available_ms", sa.BigInteger, nullable=False),
    sa.Column("started_ms", sa.BigInteger),
    sa.Column("finished_ms", sa.BigInteger),
    sa.Column("result", Text),
    sa.Column("error", Text),
    sa.Column("note", Text),
    sa.Column("author", Exact),
    sa.Column("idempotency_key", Exact, unique=True),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("policies", Text),  # JSON, see jobrunner.policies; NULL if there is nothing to say
    sa.Column("unique_key", Ascii),  # while the job is open
    sa.Column("unique_over", Ascii),  # the same, kept
    sa.Column("jobset_id", Id),
    sa.Column("parked", Ascii),  # why an open job is not on the board
    sa.Column("parked_before", Ascii),  # the same, from before a person suspended it
    sa.Column("awaits", Exact),  # the signal that it waits for
    sa.Column("held", sa.SmallInteger),  # 1: suspended by a person, or to be
    sa.Column("adopted", sa.SmallInteger),  # 1: its flow may go on with other code
    sa.Column("misfits", sa.Integer),  # so often in a row its owners had other code than it began with
    sa.Column("usage", Text),  # JSON: what its run has used
    sa.Column(
        "failover_ms", sa.BigInteger
    ),  # when an open job leaves node_pin, which it only prefers; NULL: never
    sa.Column("from_results", sa.SmallInteger),  # 1: some parameters were results of other jobs
    sa.Index("jobs_state_seq", "state", "seq"),
    sa.Index("jobs_type_seq", "type", "seq"),
    sa.Index("jobs_state_type_seq", "state", "type", "seq"),
    sa.Index("jobs_owner", "owner", "state"),
    sa.Index("jobs_created", "created_ms"),
    sa.Index("jobs_jobset", "jobset_id", "seq"),
    sa.Index("jobs_author_seq", "author", "seq"),
    sa.Index("jobs_unique_key", "unique_key", unique=True),
    # Only of jobs that leave, where a database knows such indexes; said in the migration alone, since saying it here
    # makes every process import all dialects.
    sa.Index("jobs_failover", "node_pin", "failover_ms"),
    **_MYSQL,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Key, primary_key=True, autoincrement=True),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", Ascii, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("owner", Exact),
    sa.Column("data", Text),
    sa.Index("events_job", "job_id", "seq"),
    **_MYSQL,
)

attempts = sa.Table(
    "job_attempts",  # how attempts ended that were followed by another
    metadata,
    sa.Column("job_id", Id, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", Ascii, nullable=False),
    sa.Column("node", Exact),
    sa.Column("started_ms", sa.BigInteger),
    sa.Column("finished_ms", sa.BigInteger, nullable=False),
    sa.Column("result", Text),
    sa.Column("error", Text),
    **_MYSQL,
)

tags = sa.Table(
    "job_tags",  # the jobs' properties that are plain values, to search by
    metadata,
    sa.Column("name", Exact, primary_key=True),
    sa.Column("value", Exact, primary_key=True),
    sa.Column("job_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index("job_tags_job", "job_seq"),
    sa.Index("job_tags_name", "name", "job_seq"),
    **_MYSQL,
)

jobsets = sa.Table(
    "jobsets",
    metadata,
    sa.Column("seq", Key, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("name", Exact),
    sa.Column("author", Exact),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    **_MYSQL,
)

links = sa.Table(
    "job_links",  # which jobs come after which
    metadata,
    sa.Column("job_id", Id, primary_key=True),
    sa.Column("after_id", Id, primary_key=True),
    sa.Column("condition", Ascii, nullable=False),  # success, failure or always
    sa.Index("job_links_after", "after_id"),
    **_MYSQL,
)

signals = sa.Table(
    "signals",
    metadata,
    sa.Column("seq", Key, primary_key=True, autoincrement=True),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("name", Exact, nullable=False),
    sa.Column("data", Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("author", Exact),
    sa.Column("sent_key", Exact),  # who sends it again under the same key sends nothing
    sa.Column("taken_ms", sa.BigInteger),  # when a task took it; NULL: it is still there to be taken
    sa.Index("signals_job", "job_id", "seq"),
    sa.Index("signals_key", "job_id", "sent_key", unique=True),
    **_MYSQL,
)

semaphores = sa.Table(
    "semaphores",
    metadata,
    sa.Column("name", Exact, primary_key=True),
    sa.Column("count", sa.Integer),  # how many units there are; NULL: as many as the jobs say
    sa.Column(
        "starts", sa.Integer
    ),  # and how many may start within a period; NULL: as the jobs say, 0: any number
    sa.Column("period_ms", sa.BigInteger),
    sa.Column("started", Text),  # JSON: when the last of them started, oldest first
    sa.Column("said", Text),  # JSON: what a job said last of count, starts and period_ms
    sa.Column(
        "configured", Text
    ),  # JSON: the same by the configuration of a node, and by which; what is set goes before
    **_MYSQL,
)

permits = sa.Table(
    "permits",  # who holds, or waits for, which semaphore
    metadata,
    sa.Column("job_id", Id, primary_key=True),
    sa.Column("semaphore", Exact, primary_key=True),
    sa.Column("units", sa.Integer, nullable=False),
    sa.Column("shared", sa.SmallInteger, nullable=False),
    sa.Column("granted", sa.SmallInteger, nullable=False),  # 1: held; 0: waited for
    sa.Column("score", sa.BigInteger, nullable=False),  # place among those who wait
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column(
        "set_id", Id
    ),  # the jobset that holds it, and stands for job_id then, or for which the job asks
    sa.Column("until_ms", sa.BigInteger),  # who waits counts as waiting until then, unless it asks again
    sa.Index("permits_line", "semaphore", "granted", "score"),
    **_MYSQL,
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("name", Exact, primary_key=True),
    sa.Column("identity", Exact, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("stopped_ms", sa.BigInteger),
    sa.Column("drained", sa.SmallInteger),  # 1: takes no more jobs
    sa.Column("free", sa.Float),  # how much of it is free, from 0 to 1
    sa.Column("report", Text, nullable=False),  # JSON: load, memory, processes, running, types, versions
    **_MYSQL,
)

output = sa.Table(
    "job_output",
    metadata,
    sa.Column("seq", Key, primary_key=True, autoincrement=True),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column(
        "position", sa.BigInteger, nullable=False
    ),  # bytes of the job's output before this chunk, in its epoch
    sa.Column("atom", Exact),
    sa.Column("stream", Ascii, nullable=False),  # "out", "err" or "log"
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),  # bytes of text as UTF-8
    sa.Column("text", Text, nullable=False),
    sa.Index("job_output_job", "job_id", "seq"),
    sa.Index(
        "job_output_place", "job_id", "attempt", "epoch", "position", unique=True
    ),  # replays write a chunk once
    **_MYSQL,
)

board = sa.Table(
    "board",
    metadata,
    sa.Column("place", Key, primary_key=True, autoincrement=True),  # order of posting, where scores are equal
    sa.Column("job_id", Id, nullable=False, unique=True),
    sa.Column("class_key", Exact, nullable=False),
    sa.Column("status", sa.String(1), nullable=False),  # W waiting, D delayed, C claimed
    sa.Column("score", sa.BigInteger, nullable=False),
    # delayed: when it may be claimed; claimed: the lease's end; waiting: since when it may be claimed
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Column("owner", Exact),
    sa.Column("entry", Text, nullable=False),
    sa.Index("board_line", "status", "class_key", "score", "place"),
    # Without the waiting on PostgreSQL, which before its first ANALYZE would take this index to look for them.
    sa.Index(
        "board_due", "status", "due_ms"
    ),  # in PostgreSQL only of rows that do not wait: see its migration
    sa.Index("board_owner", "owner"),
    **_MYSQL,
)

taskflow_postings = sa.Table(
    "taskflow_postings",  # jobs of TaskFlow programs, which jobrunner's conductors never claim
    metadata,
    sa.Column("place", Key, primary_key=True, autoincrement=True),  # order of posting
    sa.Column("job_id", Id, nullable=False, unique=True),
    sa.Column("namespace", Ascii, nullable=False),
    sa.Column("status", sa.String(1), nullable=False),  # P posted, T trashed
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("owner", Ascii),
    sa.Column("until_ms", sa.BigInteger, nullable=False),  # the lease's end; 0: unclaimed
    sa.Column("posting", Text, nullable=False),
    sa.Index("taskflow_postings_line", "namespace", "status", "priority", "place"),
    sa.Index("taskflow_postings_claims", "namespace", "until_ms"),
    **_MYSQL,
)

settings = sa.Table(
    "jobrunner_settings",
    metadata,
    sa.Column("name", Ascii, primary_key=True),
    sa.Column("value", Text, nullable=False),
    **_MYSQL,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", Ascii, primary_key=True),  # "reconciler"
    sa.Column("holder", Exact, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    **_MYSQL,
)


class RawJson(sa.types.UserDefinedType[str]):
    """PostgreSQL's JSON, written and read as the text that it is.

    A driver that decodes it by itself would hand over the result "1" as the number that it is not.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.Text)


JsonText = sa.Text().with_variant(RawJson(), "postgresql")
"""TaskFlow keeps JSON as text, and as JSON on PostgreSQL; here it is text everywhere."""

logbooks = sa.Table(
    "logbooks",
    taskflow_metadata,
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("meta", JsonText),
    sa.Column("name", sa.String(255)),
    sa.Column("uuid", sa.String(64), primary_key=True),
)

flowdetails = sa.Table(
    "flowdetails",
    taskflow_metadata,
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("parent_uuid", sa.String(64), sa.ForeignKey("logbooks.uuid", ondelete="CASCADE")),
    sa.Column("meta", JsonText),
    sa.Column("name", sa.String(255)),
    sa.Column("state", sa.String(255)),
    sa.Column("uuid", sa.String(64), primary_key=True),
)

ATOM_TYPES = ("RETRY_DETAIL", "TASK_DETAIL")
INTENTIONS = ("EXECUTE", "IGNORE", "REVERT", "RETRY")

atomdetails = sa.Table(
    "atomdetails",
    taskflow_metadata,
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("meta", JsonText),
    sa.Column("parent_uuid", sa.String(64), sa.ForeignKey("flowdetails.uuid", ondelete="CASCADE")),
    sa.Column("name", sa.String(255)),
    sa.Column("version", sa.String(64)),
    sa.Column("state", sa.String(255)),
    sa.Column("uuid", sa.String(64), primary_key=True),
    sa.Column("failure", JsonText),
    sa.Column("results", JsonText),
    sa.Column("revert_results", JsonText),
    sa.Column("revert_failure", JsonText),
    sa.Column("atom_type", sa.Enum(*ATOM_TYPES, name="atom_types")),
    sa.Column("intention", sa.Enum(*INTENTIONS, name="intentions")),
)
