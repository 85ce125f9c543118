"""Permits: which jobs hold which semaphores, and which wait for them. SQL is the truth about both.

Invariants:

- A permit is granted in the transaction that begins its job, and ends in the one in which the job is left: so whoever
  takes a job over from a dead owner finds that it has its permits, and nothing leaks.
- Permits are granted under locks on the semaphores' rows, taken in the order of their names, after those of the jobs.
  They end under the job's lock alone: who counts meanwhile may count one too many, never one too few.
- What a jobset holds as a whole is a permit of its own, under the set's id: granted when the first of its jobs begins,
  and ended, under a lock on the semaphore, once all of them have ended (passing.py). So it outlives owners.
- A job has all that it holds or nothing, so that no two wait for each other.
- Who was refused looks once more when its transaction has ended and the board has it again (conductor/passing_on.py):
  what ended meanwhile may have seen nobody waiting.

Costs nothing for jobs that hold nothing. For one that does: three round trips, and one more for each semaphore beyond
the first, and where there is a rate; for a batch of several that many to look, and again to lock if some may begin.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from jobrunner.model import Job, JobState
from jobrunner.persistence.database import now_ms_of
from jobrunner.persistence.job_rows import board_entry
from jobrunner.persistence.pipelines.inserts import insert_new, upsert
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.semaphores import Refusal, Semaphore, Terms, Wish
from jobrunner.persistence.tables import jobs, permits, semaphores
from jobrunner.policies import Hold

OFFERED_AGAIN_S = 60.0
"""A job that was refused is offered again after about this time, if nobody calls it before."""
LONGEST_S = 3600.0
"""A job that waits for its time by a rate is offered again after this time at the latest."""
SLACK_MS = 15_000
"""Who does not ask again within this time after it was offered counts as waiting no more."""
LINE_SEEN = 100
"""So many of those who wait for a semaphore are looked at."""
LAST_SCORE = 4 * 10**12
"""In the year 2096; the product still fits its column."""
LAST_PLACE = (LAST_SCORE + 1) * 1_000_000

Ask = Callable[[Statement, Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""Sends a query; its rows by column. A pipeline's, or one that only reads."""

_UNOWNED = tuple(state.value for state in (JobState.SCHEDULED, JobState.WAITING, JobState.SUSPENDED))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A job that has to wait for a semaphore, and when the board is to offer it again."""

    job: Job
    note: str
    delay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What became of the jobs that asked."""

    granted: set[str] = field(default_factory=set)
    refused: dict[str, Refused] = field(default_factory=dict)


def ask(pipeline: Pipeline, asking: Sequence[Job]) -> Answers:
    """Grant these jobs, whose rows are locked, the permits that they need; or put them in line.

    Refusing needs no lock: a batch in which nobody can begin keeps those from waiting who can.

    :param asking: jobs with holds
    """
    names = sorted({hold.name for job in asking for hold in job.policies.holds})
    if len(asking) > 1:
        rows = look_at(pipeline.ask, pipeline.dialect, names)
        desk = _served(pipeline, asking, rows) if len(rows) == len(names) else None
        if desk is not None and not desk.has_granted:
            desk.write_waiting(pipeline)
            return desk.answers
    rows = _locked(pipeline, names)
    desk = _served(pipeline, asking, rows)
    desk.write_waiting(pipeline)
    desk.write_granted(pipeline, rows)
    return desk.answers


def _served(pipeline: Pipeline, asking: Sequence[Job], rows: Mapping[str, Mapping[str, Any]]) -> _Desk:
    found, having = held(pipeline.ask, rows)
    now_ms = max(row["now_ms"] for row in rows.values())
    last = max(map(place_of, asking))
    for one in found.values():
        one.line = line_of(pipeline.ask, one.name, now_ms, last=last)
    if any(_has_rate(found[hold.name], hold) for job in asking for hold in job.policies.holds):
        now_ms = pipeline.ask(_now(pipeline.dialect), {})[0]["now_ms"]  # the other is of before the locks
    desk = _Desk(found, now_ms)
    for job in sorted(asking, key=place_of):
        desk.serve(job, has_it=job.id in having)
    return desk


class _Desk:
    """Serves jobs one after the other, first in line first."""

    def __init__(self, found: Mapping[str, Semaphore], now_ms: int) -> None:
        self.answers = Answers()
        self._found = found
        self._now_ms = now_ms
        self._granted: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        self._waits_no_more: list[dict[str, Any]] = []
        self.has_granted = False
        """Whether somebody got what it did not have itself: then all of it counts only if it was seen under locks."""
        self._said: dict[str, Terms] = {}

    def serve(self, job: Job, *, has_it: bool) -> None:
        holds = {hold.name: hold for hold in job.policies.holds}
        if has_it:  # from its last owner
            self.answers.granted.add(job.id)
            return
        self._said |= {name: Terms.of_hold(hold) for name, hold in holds.items()}
        refusals = {
            name: refusal for name, hold in holds.items() if (refusal := self._refusal(job, hold)) is not None
        }
        if refusals:
            self._refuse(job, holds, list(refusals.values()))
            return
        self.answers.granted.add(job.id)
        self.has_granted = True
        for hold in holds.values():
            self._grant(job, hold)

    def _grant(self, job: Job, hold: Hold) -> None:
        one, wish = self._found[hold.name], _wish(job, hold)
        if wish.holder not in one.holders:
            self._granted.append(_row(job, hold, granted=1, since_ms=self._now_ms, until_ms=None))
        if wish.set_id is not None:
            self._waits_no_more.append({"key": job.id, "name": hold.name})
        one.grant(wish, Terms.of_hold(hold), self._now_ms)

    def _refusal(self, job: Job, hold: Hold) -> Refusal | None:
        return self._found[hold.name].refusal(_wish(job, hold), Terms.of_hold(hold), self._now_ms)

    def _refuse(self, job: Job, holds: Mapping[str, Hold], refusals: Sequence[Refusal]) -> None:
        """It waits for what it lacks only. What it waited for before it goes on waiting for: so in the end it is first
        in all the lines where it has to be.
        """
        delay = self._delay(refusals)
        until_ms = self._now_ms + round(delay * 1000) + SLACK_MS
        for refusal in refusals:
            hold = holds[refusal.semaphore]
            self._found[hold.name].queue(_wish(job, hold))
            self._waiting.append(_row(job, hold, granted=0, since_ms=self._now_ms, until_ms=until_ms))
        self.answers.refused[job.id] = Refused(job=job, note=_note(refusals), delay=delay)

    def _delay(self, refusals: Sequence[Refusal]) -> float:
        times = [refusal.at_ms for refusal in refusals if refusal.at_ms is not None]
        if len(times) == len(refusals):
            return min(LONGEST_S, max(1, max(times) - self._now_ms) / 1000)
        return OFFERED_AGAIN_S * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, protects nothing)

    def write_waiting(self, pipeline: Pipeline) -> None:
        _put(pipeline, self._waiting, changed=_WAITS)

    def write_granted(self, pipeline: Pipeline, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """The semaphores' rows are locked."""
        _put(pipeline, self._granted, changed=_GRANTS)
        pipeline.add(_FREE, self._waits_no_more)
        for name, said in sorted(self._said.items()):
            one = self._found[name]
            now = {"said": json.dumps(asdict(said)), "started": json.dumps(one.started)}
            if now != {"said": rows[name]["said"], "started": rows[name]["started"] or "[]"}:
                pipeline.add(
                    _REMEMBER, [{"key": name, **{f"new_{key}": value for key, value in now.items()}}]
                )


def _note(refusals: Sequence[Refusal]) -> str:
    names = ", ".join(refusal.semaphore for refusal in refusals)
    if all(refusal.at_ms is not None for refusal in refusals):
        return f"Waits for its turn: {names} allows only so many starts in a time."
    return f"Waits for a slot of {names}."


def _wish(job: Job, hold: Hold) -> Wish:
    return Wish(place_of(job), job.id, hold.units, hold.shared, _set_of(job, hold))


def _set_of(job: Job, hold: Hold) -> str | None:
    return job.jobset_id if hold.by_set else None


def place_of(job: Job) -> int:
    """A job's place in every line: as on the board, and of those posted in one millisecond the first goes first."""
    return min(board_entry(job).score, LAST_SCORE) * 1_000_000 + job.seq % 1_000_000


def _has_rate(one: Semaphore, hold: Hold) -> bool:
    return bool(one.terms(Terms.of_hold(hold)).starts)


def _row(job: Job, hold: Hold, **columns: Any) -> dict[str, Any]:
    """A job's permit, or that of its jobset once it is granted."""
    set_id = _set_of(job, hold)
    said = {"units": hold.units, "shared": int(hold.shared), "score": place_of(job), "set_id": set_id}
    holder = set_id if set_id is not None and columns["granted"] else job.id
    return {"job_id": holder, "semaphore": hold.name, **said, **columns}


# -- jobs that are left


def free(pipeline: Pipeline, held: Mapping[str, Iterable[str]]) -> None:
    """End the permits of jobs, whose rows are locked, for these semaphores; no round trip of its own."""
    pipeline.add(
        _FREE,
        [{"key": job_id, "name": name} for job_id in sorted(held) for name in sorted(held[job_id])],
    )


def free_all(pipeline: Pipeline, row: Mapping[str, Any]) -> None:
    """End whatever permits and waiting there may be of a job, by its row, which is locked."""
    if may_hold(row):
        pipeline.add(_FREE_ALL, [{"key": row["id"]}])


def free_job(pipeline: Pipeline, job: Job) -> None:
    """The same for a job that was read."""
    if job.policies.holds or job.properties:
        pipeline.add(_FREE_ALL, [{"key": job.id}])


def may_hold(row: Any) -> bool:
    """Whether a job may hold, or wait for, something: by its policies, or by a tag."""
    return row["policies"] is not None or row["properties"] != "{}"


_FREE = Statement(
    permits.delete().where(
        permits.c.job_id == sa.bindparam("key"), permits.c.semaphore == sa.bindparam("name")
    )
)
_FREE_ALL = Statement(permits.delete().where(permits.c.job_id == sa.bindparam("key")))


# -- limits of tags


NODE = "node:"
"""What the limit of a node is called. It is no semaphore: the node's workers share the number among them."""
TAG = "tag:"


def with_tags(job: Job, limited: frozenset[str]) -> Job:
    """The job as it holds what its properties ask for as well, where there is a limit of such a tag."""
    tags = {f"{TAG}{name}={_word(value)}" for name, value in job.properties.items()} & limited
    more = tags - {hold.name for hold in job.policies.holds}
    if not more:
        return job
    holds = (*job.policies.holds, *(Hold(name=name) for name in sorted(more)))
    return replace(job, policies=replace(job.policies, holds=holds))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def limited_tags(pipeline: Pipeline) -> frozenset[str]:
    """The limits of tags that somebody has set, or configured; one round trip."""
    return frozenset(row["name"] for row in pipeline.ask(_LIMITED_TAGS, {}))


_LIMITED_TAGS = Statement(
    sa.select(semaphores.c.name).where(
        semaphores.c.name >= TAG,
        semaphores.c.name < TAG[:-1] + ";",
        sa.or_(
            semaphores.c.count.is_not(None),
            semaphores.c.starts.is_not(None),
            semaphores.c.configured.is_not(None),
        ),
    )
)


# -- reading semaphores


def _locked(pipeline: Pipeline, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The rows of these semaphores, locked; those that nobody knew are made."""
    found = _rows_of(pipeline.ask, names, _lock(pipeline.dialect))
    missing = [name for name in names if name not in found]
    if missing:
        pipeline.add(
            insert_new(pipeline.dialect, semaphores, ("name",)), [{"name": name} for name in missing]
        )
        found |= _rows_of(pipeline.ask, missing, _lock(pipeline.dialect))
    return found


def look_at(ask: Ask, dialect: str, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The rows of these semaphores by name, with the time as ``now_ms``; locks nothing. One query."""
    return _rows_of(ask, names, _look(dialect))


def _rows_of(ask: Ask, names: Sequence[str], wanted: Statement) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in ask(wanted, {"names": list(names)})}


def semaphore_of_row(row: Any) -> Semaphore:
    """As somebody has set it; what nobody set is as it is configured."""
    configured = configured_of(row["configured"])
    count = configured.count if row["count"] is None else row["count"]
    is_set = row["starts"] is not None
    return Semaphore(
        name=row["name"],
        count=count,
        starts=row["starts"] if is_set else configured.starts,
        period_ms=row["period_ms"] if is_set else configured.period_ms,
        started=_times(row["started"]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Configured:
    """What the configuration of a node says of a semaphore; None is as the jobs say."""

    count: int | None = None
    starts: int | None = None
    period_ms: int | None = None
    by: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def configured_of(text: str | None) -> Configured:
    """Read back what ``to_json`` wrote; what somebody else has written there says nothing."""
    if text is None:
        return NOT_CONFIGURED
    with suppress(ValueError, TypeError):
        return Configured(**json.loads(text))
    return NOT_CONFIGURED


NOT_CONFIGURED = Configured()


def _times(text: str | None) -> list[int]:
    """When jobs started; what somebody else has written there counts as nothing."""
    with suppress(ValueError):
        times = json.loads(text or "[]")
        if isinstance(times, list) and all(isinstance(time, int) for time in times):
            return times
    return []


def held(ask: Ask, rows: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Semaphore], set[str]]:
    """The semaphores of these rows by name, with what is held of them; and the jobs that hold any. One query."""
    by_name = {name: semaphore_of_row(row) for name, row in rows.items()}
    granted = ask(_GRANTED, {"names": list(by_name)})
    for row in granted:
        one = by_name[row["semaphore"]]
        one.take(row["job_id"], row["units"], bool(row["shared"]))
        if row["set_id"] is not None:
            one.sets.add(row["set_id"])
    return by_name, {row["job_id"] for row in granted}


def line_of(ask: Ask, name: str, now_ms: int, *, last: int = LAST_PLACE, most: int = LINE_SEEN) -> list[Wish]:
    """Those who wait for a semaphore, the first in line first. One query.

    :param last: the place up to which the line is of interest: who is behind those that ask stands in nobody's way
    """
    return _wishes(ask(_LINE, {"semaphore": name, "now_ms": now_ms, "last": last, "most": most}))


def mates_of(ask: Ask, one: Semaphore, now_ms: int) -> list[Wish]:
    """Those who wait though their jobsets have it by now. One query, if any jobset has it."""
    if not one.sets:
        return []
    said = {"semaphore": one.name, "now_ms": now_ms, "last": LAST_PLACE, "most": LINE_SEEN}
    return _wishes(ask(_MATES, {**said, "sets": sorted(one.sets)}))


def _wishes(rows: Sequence[Mapping[str, Any]]) -> list[Wish]:
    return [
        Wish(row["score"], row["job_id"], row["units"], bool(row["shared"]), row["set_id"]) for row in rows
    ]


@functools.cache
def _look(dialect: str) -> Statement:
    return Statement(_semaphores(dialect), many="names")


@functools.cache
def _lock(dialect: str) -> Statement:
    locked = _semaphores(dialect).order_by(semaphores.c.name).with_for_update()
    return Statement(locked.with_hint(semaphores, "FORCE INDEX (PRIMARY)", "mysql"), many="names")


def _semaphores(dialect: str) -> sa.Select[Any]:
    wanted = semaphores.c.name.in_(sa.bindparam("names", expanding=True))
    return sa.select(semaphores, now_ms_of(dialect).label("now_ms")).where(wanted)


@functools.cache
def _now(dialect: str) -> Statement:
    return Statement(sa.select(now_ms_of(dialect).label("now_ms")))


_GRANTED = Statement(
    sa.select(
        permits.c.job_id, permits.c.semaphore, permits.c.units, permits.c.shared, permits.c.set_id
    ).where(permits.c.semaphore.in_(sa.bindparam("names", expanding=True)), permits.c.granted == 1),
    many="names",
)
_IN_LINE = (
    sa.select(permits.c.job_id, permits.c.units, permits.c.shared, permits.c.score, permits.c.set_id)
    .join(jobs, jobs.c.id == permits.c.job_id)
    .where(
        permits.c.semaphore == sa.bindparam("semaphore"),
        permits.c.granted == 0,
        permits.c.score <= sa.bindparam("last", type_=sa.BigInteger),
        permits.c.until_ms > sa.bindparam("now_ms"),
        jobs.c.state.in_(_UNOWNED),
        jobs.c.parked.is_(None),
    )
    .order_by(permits.c.score, permits.c.job_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
"""Those who wait for a semaphore, by index. A job that has ended, or that nobody can claim, waits no more."""
_LINE = Statement(_IN_LINE)
_MATES = Statement(_IN_LINE.where(permits.c.set_id.in_(sa.bindparam("sets", expanding=True))), many="sets")


# -- writing


_COLUMNS = ("job_id", "semaphore", "units", "shared", "granted", "score", "set_id", "since_ms", "until_ms")
_GRANTS = ("units", "shared", "granted", "since_ms", "until_ms")
_WAITS = ("units", "shared", "score", "set_id", "until_ms")
"""What changes of a permit that is there: since when somebody waits does not."""

_REMEMBER = Statement(
    semaphores.update()
    .where(semaphores.c.name == sa.bindparam("key"))
    .values(said=sa.bindparam("new_said"), started=sa.bindparam("new_started"))
)


def _put(pipeline: Pipeline, rows: Sequence[dict[str, Any]], *, changed: tuple[str, ...]) -> None:
    key = ("job_id", "semaphore")
    pipeline.add(upsert(pipeline.dialect, permits, _COLUMNS, key=key, changed=changed), rows)
