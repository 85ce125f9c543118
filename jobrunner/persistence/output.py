"""What tasks print and log, kept with the job: in chunks, in order, bounded.

A job's output may grow to a limit. After that its first half stays as it is, and of the rest only the newest is kept:
the middle goes, and a gap in the chunks' positions tells how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner.persistence.encoding import clean
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import output

READ_BATCH = 200
ROW_BYTES = 256 * 1024
"""A longer chunk becomes several rows: a row, and a statement of many rows, stay within what a server takes at once."""
NAME_LENGTH = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputChunk:
    """A piece of a job's output; ``position`` counts the bytes before it, in its attempt and epoch."""

    seq: int = 0
    job_id: str
    attempt: int
    epoch: int
    position: int
    atom: str | None
    stream: str
    at_ms: int
    text: str

    @property
    def size(self) -> int:
        return len(self.text.encode("utf-8"))


_DROP = Statement(
    output.delete().where(
        output.c.job_id == sa.bindparam("job"),
        output.c.attempt == sa.bindparam("in_attempt"),
        output.c.epoch == sa.bindparam("in_epoch"),
        output.c.position >= sa.bindparam("head"),
        output.c.position + output.c.size <= sa.bindparam("before"),
    )
)


def drop_middle(pipeline: Pipeline, job_id: str, attempt: int, epoch: int, *, head: int, before: int) -> None:
    """Delete the chunks that begin at or after ``head`` and end before position ``before``."""
    place = {"job": job_id, "in_attempt": attempt, "in_epoch": epoch}
    pipeline.add(_DROP, [{**place, "head": head, "before": before}])


def kept_bytes(database: Database, job_id: str) -> int:
    """How many bytes of the job's output are kept, over all attempts."""
    query = sa.select(sa.func.coalesce(sa.func.sum(output.c.size), 0)).where(output.c.job_id == job_id)
    with database.read() as connection:
        return int(connection.execute(query).scalar() or 0)


def read_output(
    database: Database, job_id: str, *, after: int = 0, attempt: int | None = None
) -> Iterator[OutputChunk]:
    """The chunks of a job with ``seq`` above ``after``, in order; by pages, so that memory stays flat."""
    while True:
        query = sa.select(output).where(output.c.job_id == job_id, output.c.seq > after)
        if attempt is not None:
            query = query.where(output.c.attempt == attempt)
        with database.read() as connection:
            rows = connection.execute(query.order_by(output.c.seq).limit(READ_BATCH)).mappings().all()
        yield from (_chunk(row) for row in rows)
        if len(rows) < READ_BATCH:
            return
        after = rows[-1]["seq"]


OUTPUT_COLUMNS = ("job_id", "attempt", "epoch", "position", "atom", "stream", "at_ms", "size", "text")


def output_rows(chunk: OutputChunk) -> list[dict[str, Any]]:
    """Rows for ``job_output``.

    NUL, which PostgreSQL's texts cannot hold, becomes ASCII's own substitute (1A), of the same length.
    """
    data = chunk.text.encode("utf-8", "replace").replace(b"\x00", b"\x1a")
    return [
        {
            "job_id": chunk.job_id,
            "attempt": chunk.attempt,
            "epoch": chunk.epoch,
            "position": chunk.position + start,
            "atom": None if chunk.atom is None else clean(chunk.atom)[:NAME_LENGTH],
            "stream": chunk.stream,
            "at_ms": chunk.at_ms,
            "size": len(piece),
            "text": piece.decode("utf-8"),
        }
        for start, piece in _pieces(data)
    ]


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        end = min(start + ROW_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # not within a character
            end -= 1
        yield start, data[start:end]
        start = end


def _chunk(row: Any) -> OutputChunk:
    keys = ("seq", "job_id", "attempt", "epoch", "position", "atom", "stream", "at_ms", "text")
    return OutputChunk(**{key: row[key] for key in keys})
