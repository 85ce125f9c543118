"""Granting permits to jobs that are about to begin, or putting them in line."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from jobrunner.model import Job
from jobrunner.persistence.permits.ending import FREE
from jobrunner.persistence.permits.line import line_of, place_of
from jobrunner.persistence.permits.rows import held, locked, look_at
from jobrunner.persistence.permits.semaphores import Refusal, Semaphore, Terms, Wish
from jobrunner.persistence.pipelines.inserts import upsert
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.server_clock import server_ms
from jobrunner.persistence.tables import permits, semaphores
from jobrunner.policies import Hold

OFFERED_AGAIN_S = 60.0
"""A job that was refused is offered again after about this time, if nobody calls it before."""
LONGEST_S = 3600.0
"""A job that waits for its time by a rate is offered again after this time at the latest."""
SLACK_MS = 15_000
"""Who does not ask again within this time after it was offered counts as waiting no more."""


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
    rows = locked(pipeline, names)
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
        now_ms = server_ms(pipeline)  # the other is of before the locks
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
        pipeline.add(FREE, self._waits_no_more)
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


def _has_rate(one: Semaphore, hold: Hold) -> bool:
    return bool(one.terms(Terms.of_hold(hold)).starts)


def _row(job: Job, hold: Hold, **columns: Any) -> dict[str, Any]:
    """A job's permit, or that of its jobset once it is granted."""
    set_id = _set_of(job, hold)
    said = {"units": hold.units, "shared": int(hold.shared), "score": place_of(job), "set_id": set_id}
    holder = set_id if set_id is not None and columns["granted"] else job.id
    return {"job_id": holder, "semaphore": hold.name, **said, **columns}


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
