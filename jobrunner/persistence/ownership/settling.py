"""How a job is left: the last thing that an owner writes, in one transaction with all that its flow still had pending.

Nothing here refuses what it is given: a result that is too large, or an error with strange text in it, is cut down to
what fits. The atoms hold the whole of it; and a job that could not be settled would be run again for ever.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import NotStorable
from jobrunner.model import TERMINAL_STATES, Job, JobError, JobState, Json, Parked
from jobrunner.persistence.encoding import BRIEF_LIMIT_BYTES, clean, clip, encode
from jobrunner.persistence.job_rows import EVENT_COLUMNS, dump, event_row, preferring
from jobrunner.persistence.ownership.attempts import keep_attempt
from jobrunner.persistence.permits.ending import free
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import events, jobs
from jobrunner.policies import Placement
from jobrunner.references import LEFT_OUT

PART_LIMIT_BYTES = 4096
"""In a job's result that is too large, parts above this are left to the atoms' results."""
NOTE_LIMIT_BYTES = 8192
HELD_NOTE = "Suspended by a person: `jobrunner resume` lets it go on."

_TERMINAL = frozenset(state.value for state in TERMINAL_STATES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The state in which an owner leaves its job: terminal, or SUSPENDED, WAITING or SCHEDULED for the next owner.

    One that is ``parked`` has no next owner until somebody takes it from there. It is parked as HELD only if somebody
    still wants that when it is written.
    """

    state: JobState
    result: Json = None
    error: JobError | None = None
    note: str | None = None
    available_ms: int | None = None
    parked: Parked | None = None
    awaits: str | None = None
    misfits: int | None = None
    """So often in a row its owners had other code by now; None: that is as it was."""
    again_ms: int | None = None
    """For a terminal state: then or later the job is run again, so it is only the attempt that ended."""
    placement: Placement | None = None
    """Where that run is to be: a preference is taken anew, whether or not this attempt ran there."""

    @property
    def is_off_board(self) -> bool:
        """Whether the job does not go back to the board.

        A held one does, since it may have been resumed meanwhile: who claims it next finds whether it is parked.
        """
        ends = self.state.is_terminal and self.again_ms is None
        return ends or self.parked not in (None, Parked.HELD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """One job's settlement, and who writes it."""

    job_id: str
    epoch: int
    attempt: int
    owner: str | None
    settlement: Settlement
    row: Mapping[str, Any] | None = None
    """The job's row, or what LOCKED_ENDS reads of it, as it was locked: without it no further attempt is made."""
    holds: tuple[str, ...] = ()
    """The semaphores that it held, and holds no more."""


def followed_up(job: Job, settlement: Settlement) -> Settlement:
    """The settlement, with the time of the next attempt if the job's policy wants one after such an end."""
    retry = job.policies.retrying
    if not retry.allows_after(settlement.state, job.attempt):
        return settlement
    again_ms = int((time.time() + retry.pause(job.attempt)) * 1000)
    return replace(settlement, again_ms=again_ms, placement=job.policies.placement)


def is_settled(state: str, settlement: Settlement) -> bool:
    """Whether a job in ``state`` needs no settling: it has ended, or this replays a commit whose answer was lost."""
    if settlement.again_ms is not None:
        return state != JobState.RUNNING.value
    return state in _TERMINAL or state == settlement.state.value


def settle_rows(pipeline: Pipeline, settled: Sequence[Settled], now_ms: int) -> None:
    """Write how jobs are left; their rows are locked, and their epochs were compared, before.

    Costs no round trip of its own: a statement for each set of jobs that are left alike, and one for their events.
    """
    again = [each for each in settled if _goes_on(each)]
    ended = [each for each in settled if not _goes_on(each)] if again else settled
    alike: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for each in ended:
        alike[tuple(_row(each.settlement, now_ms).items())].append(each.job_id)
    for row, job_ids in alike.items():
        set_columns(pipeline, job_ids, dict(row))
    held = [each.job_id for each in settled if each.settlement.parked is Parked.HELD]
    if held:
        pipeline.add(_NOT_HELD_ANY_MORE, [{"job_ids": sorted(held)}])
    for each in again:
        _go_on(pipeline, each, now_ms)
    pipeline.add(INSERT_EVENTS, [_event(each, now_ms) for each in settled])
    free(pipeline, {each.job_id: each.holds for each in settled if each.holds})


def _goes_on(each: Settled) -> bool:
    """Whether another attempt follows: not if somebody asked to cancel the job while this one came to its end."""
    return each.settlement.again_ms is not None and each.row is not None and each.row["cancel"] is None


def _go_on(pipeline: Pipeline, each: Settled, now_ms: int) -> None:
    """Keep the attempt that ended, and have the job wait for the next one."""
    assert each.row is not None
    ended = _row(each.settlement, now_ms)
    keep_attempt(
        pipeline, {**each.row, **ended, "id": each.job_id, "attempt": each.attempt, "finished_ms": now_ms}
    )
    start_ms = max(now_ms, each.settlement.again_ms or 0)
    waits = {
        "attempt": each.attempt + 1,
        "state": _waiting_state(each.row, later=start_ms > now_ms).value,
        "available_ms": start_ms,
        "updated_ms": now_ms,
        "note": _why_again(each, start_ms - now_ms),
        "parked": Parked.HELD.value if each.row["held"] else None,
        **preferring(each.settlement.placement, start_ms),
    }
    set_columns(pipeline, [each.job_id], {**A_NEW_ATTEMPT, **waits})


def _waiting_state(row: Mapping[str, Any], *, later: bool) -> JobState:
    if row["held"]:
        return JobState.SUSPENDED
    return JobState.SCHEDULED if later else JobState.WAITING


A_NEW_ATTEMPT: Mapping[str, Any] = dict.fromkeys(
    (
        "owner",
        "node",
        "result",
        "error",
        "note",
        "started_ms",
        "finished_ms",
        "parked",
        "parked_before",
        "awaits",
        "adopted",
        "misfits",
        "usage",
    )
) | {"deaths": 0}
"""What a job's row loses with each new attempt."""


def _why_again(each: Settled, pause_ms: int) -> str:
    error = each.settlement.error
    why = "" if error is None else f": {error.kind}: {error.message}".rstrip(".")
    wait = f" {pause_ms / 1000:.1f} s later" if pause_ms else ""
    words = f"Attempt {each.attempt} ended as {each.settlement.state}{why}. The next one follows{wait}."
    return clip(clean(words), NOTE_LIMIT_BYTES)


_NOT_HELD_ANY_MORE = Statement(
    jobs.update()
    .where(
        jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)),
        jobs.c.parked == Parked.HELD.value,
        sa.func.coalesce(jobs.c.held, 0) == 0,
    )
    .values(parked=None, note=None),
    many="job_ids",
)
"""A person may resume a job while its owner stops it: then it waits for its next owner like any other."""


INSERT_EVENTS = Statement(events.insert(), columns=EVENT_COLUMNS)


def set_columns(pipeline: Pipeline, job_ids: Sequence[str], row: Mapping[str, Any]) -> None:
    """Set the same columns to the same values in the rows of these jobs, which are locked."""
    said = {f"new_{name}": value for name, value in row.items()}
    pipeline.add(_update_of(tuple(row)), [{"job_ids": sorted(job_ids), **said}])


@functools.cache
def _update_of(columns: tuple[str, ...]) -> Statement:
    values = {name: sa.bindparam(f"new_{name}", type_=jobs.c[name].type) for name in columns}
    core = jobs.update().where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))).values(values)
    return Statement(core, many="job_ids")


def _row(settlement: Settlement, now_ms: int) -> dict[str, Any]:
    row = {
        "state": settlement.state.value,
        "result": brief_result(settlement.result),
        "error": None if settlement.error is None else encode_error(settlement.error),
        "note": None if settlement.note is None else clip(clean(settlement.note), NOTE_LIMIT_BYTES),
        "owner": None,
        "finished_ms": None,
        "updated_ms": now_ms,
        "parked": None if settlement.parked is None else settlement.parked.value,
        "awaits": settlement.awaits,
    }
    if settlement.state.is_terminal:
        row |= {
            "finished_ms": now_ms, "cancel": None, "unique_key": None, "held": None, "failover_ms": None
        }  # fmt: skip
    if settlement.misfits is not None:
        row["misfits"] = settlement.misfits or None
    if settlement.available_ms:
        row["available_ms"] = settlement.available_ms
    return row


def _event(each: Settled, now_ms: int) -> dict[str, Any]:
    error = each.settlement.error
    kind, state = each.settlement.state.value.lower(), each.settlement.state.value
    data: dict[str, Json] = {} if error is None else {"error": clean(error.message)[:1000]}
    if _goes_on(each):
        pause = max(0, (each.settlement.again_ms or 0) - now_ms) / 1000
        kind, data = "retrying", {"state": state, **data, "seconds": pause}
    return event_row(
        each.job_id,
        kind,
        at_ms=now_ms,
        epoch=each.epoch,
        attempt=each.attempt,
        owner=each.owner,
        data=data or None,
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
    return value if size <= PART_LIMIT_BYTES else f"({size:,} bytes: {LEFT_OUT}"


def encode_error(error: JobError) -> str:
    """The error as it is kept in the job's row: its texts are clipped, and what no database can hold made visible."""
    limits = {"kind": 255, "atom": 1024, "message": 8192, "traceback": BRIEF_LIMIT_BYTES // 2}
    data = error.to_json()
    for key, limit in limits.items():
        if data[key] is not None:
            data[key] = clip(clean(str(data[key])), limit)
    return dump(data)
