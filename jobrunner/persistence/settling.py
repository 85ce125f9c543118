"""How a job is left: the last thing that an owner writes, in one transaction with all that its flow still had pending.

Nothing here refuses what it is given: a result that is too large, or an error with strange text in it, is cut down to
what fits. The atoms hold the whole of it; and a job that could not be settled would be run again for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.errors import NotStorable
from jobrunner.model import TERMINAL_STATES, JobError, JobState, Json
from jobrunner.persistence.encoding import BRIEF_LIMIT_BYTES, clean, clip, encode
from jobrunner.persistence.job_rows import dump, event_row
from jobrunner.persistence.tables import events, jobs

PART_LIMIT_BYTES = 4096
"""In a job's result that is too large, parts above this are left to the atoms' results."""
NOTE_LIMIT_BYTES = 8192
SETTLE_BATCH = 100
SETTLE_BATCH_CHARACTERS = 512 * 1024
"""Jobs in one statement, and what they bring: bounds its size."""

_TERMINAL = frozenset(state.value for state in TERMINAL_STATES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The state in which an owner leaves its job: terminal, or SUSPENDED or WAITING for the next owner."""

    state: JobState
    result: Json = None
    error: JobError | None = None
    note: str | None = None
    available_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """One job's settlement, and who writes it."""

    job_id: str
    epoch: int
    attempt: int
    owner: str | None
    settlement: Settlement


def is_settled(state: str, settlement: Settlement) -> bool:
    """Whether a job in ``state`` needs no settling: it has ended, or this replays a commit whose answer was lost."""
    return state in _TERMINAL or state == settlement.state.value


def settle_rows(connection: Connection, settled: Sequence[Settled], now_ms: int) -> None:
    """Write how jobs are left; their rows are locked, and their epochs were compared, before.

    Costs two statements for up to SETTLE_BATCH jobs with SETTLE_BATCH_CHARACTERS of results and errors.
    """
    for batch in _batches([(each, _row(each.settlement, now_ms)) for each in settled]):
        rows = {each.job_id: row for each, row in batch}
        if all(row == batch[0][1] for row in rows.values()):
            connection.execute(
                _same_for_all(tuple(batch[0][1])), {"job_ids": sorted(rows), **_new(batch[0][1])}
            )
        else:
            connection.execute(_update(rows))
        connection.execute(events.insert(), [_event(each, now_ms) for each, _ in batch])


def _batches(rows: list[tuple[Settled, dict[str, Any]]]) -> Iterator[list[tuple[Settled, dict[str, Any]]]]:
    batch: list[tuple[Settled, dict[str, Any]]] = []
    size = 0
    for each, row in rows:
        length = sum(len(value) for value in row.values() if isinstance(value, str))
        if batch and (len(batch) == SETTLE_BATCH or size + length > SETTLE_BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append((each, row))
        size += length
    if batch:
        yield batch


def _row(settlement: Settlement, now_ms: int) -> dict[str, Any]:
    row = {
        "state": settlement.state.value,
        "result": brief_result(settlement.result),
        "error": None if settlement.error is None else encode_error(settlement.error),
        "note": None if settlement.note is None else clip(clean(settlement.note), NOTE_LIMIT_BYTES),
        "owner": None,
        "finished_ms": None,
        "updated_ms": now_ms,
    }
    if settlement.state.is_terminal:
        row |= {"finished_ms": now_ms, "cancel": None}
    if settlement.available_ms:
        row["available_ms"] = settlement.available_ms
    return row


@functools.cache
def _same_for_all(columns: tuple[str, ...]) -> sa.Update:
    """Sets the same in the rows of all given jobs, as when they succeeded with no result to show. Made once."""
    values = {name: sa.bindparam(f"new_{name}", type_=jobs.c[name].type) for name in columns}
    return jobs.update().where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))).values(values)


def _new(row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in row.items()}


def _update(rows: Mapping[str, Mapping[str, Any]]) -> sa.Update:
    """One UPDATE for all rows: many of them would be a round trip each with PyMySQL.

    A column that all rows set to one value is set to it, another by a CASE over the ids; where a row says nothing of
    a column, that stays as it is.
    """
    columns = {name: None for row in rows.values() for name in row}
    values: dict[str, Any] = {}
    for name in columns:
        said = {job_id: row[name] for job_id, row in rows.items() if name in row}
        values[name] = _value(jobs.c[name], said, rows)
    return jobs.update().where(jobs.c.id.in_(sorted(rows))).values(values)


def _value(column: sa.Column[Any], said: Mapping[str, Any], ids: Collection[str]) -> Any:
    distinct = set(said.values())
    if len(said) == len(ids) and len(distinct) == 1:
        return distinct.pop()
    whens = {job_id: sa.literal(value, column.type) for job_id, value in said.items()}
    return sa.case(whens, value=jobs.c.id, else_=column)


def _event(each: Settled, now_ms: int) -> dict[str, Any]:
    error = each.settlement.error
    return event_row(
        each.job_id,
        each.settlement.state.value.lower(),
        at_ms=now_ms,
        epoch=each.epoch,
        attempt=each.attempt,
        owner=each.owner,
        data=None if error is None else {"error": clean(error.message)[:1000]},
    )


def brief_result(result: Json) -> str | None:
    """The job's result as it is kept in its row; parts that are too large are replaced by a word that says so."""
    if result is None:
        return None
    try:
        encode(result, what="The job's result", limit=BRIEF_LIMIT_BYTES)
    except NotStorable:
        result = _brief_parts(result) if isinstance(result, dict) else _brief_part(result)
    return dump(result)


def _brief_parts(result: Mapping[Any, Json]) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    room = BRIEF_LIMIT_BYTES
    for key, value in result.items():
        part = _brief_part(value)
        room -= len(encode({clean(str(key)): part}))
        if room < 0:
            return kept | {"...": f"({len(result) - len(kept):,} more: see the atoms' results)"}
        kept[clip(clean(str(key)), PART_LIMIT_BYTES)] = part
    return kept


def _brief_part(value: Json) -> Json:
    try:
        size = len(encode(value))
    except NotStorable as error:
        return f"({error.message})"
    return value if size <= PART_LIMIT_BYTES else f"({size:,} bytes: see the atom's result)"


def encode_error(error: JobError) -> str:
    """The error as it is kept in the job's row: its texts are clipped, and what no database can hold made visible."""
    limits = {"kind": 255, "atom": 1024, "message": 8192, "traceback": BRIEF_LIMIT_BYTES // 2}
    data = error.to_json()
    for key, limit in limits.items():
        if data[key] is not None:
            data[key] = clip(clean(str(data[key])), limit)
    return dump(data)
