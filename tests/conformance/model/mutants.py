"""Worlds in which one promise is broken, each as somebody might break it: the model test has to tell each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import sqlalchemy as sa

from jobrunner.boards.board import Board
from jobrunner.boards.sql import SqlBoard
from jobrunner.conductor.reconciling.reconciler import Reconciler
from jobrunner.errors import WrongState
from jobrunner.model import TERMINAL_STATES, CancelMode, Job, JobClass, JobState, Parked
from jobrunner.persistence import removal, signals
from jobrunner.persistence.chains import jobsets
from jobrunner.persistence.chains.jobsets import Jobset
from jobrunner.persistence.ownership import beginning, ownership
from jobrunner.persistence.ownership.beginning import Begun
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.permits.semaphores import Semaphore
from jobrunner.persistence.signals import Signal
from jobrunner.persistence.store import board_entry
from jobrunner.persistence.tables import jobs, links
from tests.conformance.model.clock import Clock, ClockedDatabase
from tests.conformance.model.world import NODE, World
from tests.support.journals import Recorded

# Boards


class NothingIsLost(SqlBoard):
    def keep(self, claims: Iterable[tuple[str, str]], *, lease: float) -> set[str]:
        super().keep(claims, lease=lease)
        return set()


class OneNameForAll(SqlBoard):
    """As when a claim belonged to a host's name: whoever asks keeps whatever is claimed."""

    def keep(self, claims: Iterable[tuple[str, str]], *, lease: float) -> set[str]:
        asked = list(claims)
        owners = self.owners([job_id for job_id, _ in asked])
        return super().keep([(job_id, owners.get(job_id, owner)) for job_id, owner in asked], lease=lease)


class NoDelay(SqlBoard):
    def release(self, owner: str, job_ids: Sequence[str], *, delay: float = 0.0) -> int:
        return super().release(owner, job_ids)


class NewestFirst(SqlBoard):
    def claim(self, owner: str, classes: Collection[JobClass], *, limit: int, lease: float) -> list[str]:
        line = self.peek(classes, limit=1000)
        return self.claim_these(owner, line[: -limit - 1 : -1], lease=lease)


class ConsumesWhateverIsNamed(SqlBoard):
    def consume(self, owner: str, job_ids: Sequence[str]) -> int:
        return self.withdraw(job_ids)


def board_without_expiry(database: ClockedDatabase) -> Board:
    """Its clock stands still, so no lease ever ends."""
    return SqlBoard(
        database.url.render_as_string(False), database=ClockedDatabase(str(database.url), Clock())
    )


# Stores and conductors


class EpochStays(World):
    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        begun = super().begin(owner, job_ids)
        with self.database.write() as connection:
            mine = jobs.c.id.in_([job.id for job in begun.started])
            connection.execute(sa.update(jobs).where(mine).values(epoch=jobs.c.epoch - 1))
        return replace(begun, started=[replace(job, epoch=job.epoch - 1) for job in begun.started])


class NoFence(World):
    """Every owner's writes are taken, as with no comparison of epochs."""

    def commit(self, run: Recorded) -> None:
        self._pretend(run)
        super().commit(run)

    def settle(self, run: Recorded, settlement: Settlement) -> None:
        self._pretend(run)
        super().settle(run, settlement)

    def _pretend(self, run: Recorded) -> None:
        assert run.journal.fence is not None
        epoch = self.context.store.get(run.job.id).epoch
        run.journal.fence = replace(run.journal.fence, epoch=epoch)


class TerminalJobsAreBegun(World):
    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        terminal = jobs.c.state.in_([state.value for state in TERMINAL_STATES])
        with self.database.write() as connection:
            ended = sa.update(jobs).where(jobs.c.id.in_(list(job_ids)), terminal)
            connection.execute(ended.values(state=JobState.WAITING.value))
        return super().begin(owner, job_ids)


class DeathsAreNotCounted(World):
    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        for job in self.context.store.get_many(job_ids).values():
            if job.state is JobState.RUNNING and job.owner is not None:
                self.hand_back_of(job.owner)
        return super().begin(owner, job_ids)


class CancelEndsRunningJobs(World):
    def cancel(self, job_id: str, mode: CancelMode, *, seen: bool) -> JobState:
        job = self.context.store.get(job_id)
        if job.state is JobState.RUNNING:
            ownership.hand_back(self.database, job, Settlement(state=JobState.CANCELLED))
            return JobState.CANCELLED
        return super().cancel(job_id, mode, seen=seen)


class StartsAnew(World):
    """Whoever takes a job over does not read what was recorded."""

    def load(self, job: Job, *, fresh: bool) -> Recorded:
        return super().load(job, fresh=True)


class TakesBackFromOthers(World):
    """A lease keeper that claims again what it lost, without asking the store whose it is."""

    def keeper(self, owner: str, job_ids: Sequence[str], lease: float) -> dict[str, set[str]]:
        lost = self.board.keep([(job_id, owner) for job_id in job_ids], lease=lease)
        found = self.context.store.get_many(sorted(lost))
        self.board.post([board_entry(job) for job in found.values()])
        beginning.begin(
            self.database, self.board.claim_these(owner, sorted(lost), lease=lease), owner=owner, node=NODE
        )
        gone = set(job_ids) - set(self.board.owners(list(job_ids)))
        return {"kept": set(job_ids) - gone, "lost": gone}


class HoldsDieWithOwners(World):
    """Whoever takes a job over has not heard of the wish to suspend it."""

    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        held = sa.update(jobs).where(jobs.c.id.in_(list(job_ids)), jobs.c.state == JobState.RUNNING.value)
        with self.database.write() as connection:
            connection.execute(held.values(held=None))
        return super().begin(owner, job_ids)


class SignalsAreTakenByAnybody(World):
    """A signal is taken when it is read, not with what is recorded under the epoch."""

    def take(self, run: Recorded, atom: str, signal: Signal) -> None:
        now_ms = self.clock.now_ms
        self.database.pipelined(lambda pipeline: signals.take(pipeline, [signal.seq], now_ms))


class SignalsAreNotFollowedUp(World):
    """Nobody looks whether a signal came while its job was being left."""

    def wake(self, job_ids: Collection[str]) -> None:
        return None


class DeletesWhatRuns(World):
    """A job is removed without a look at whether it runs."""

    def delete(self, job_id: str, *, seen: bool) -> None:
        if not removal.remove(self.database, [job_id], states=JobState).ids:
            super().delete(job_id, seen=seen)
        elif seen:
            self.board.withdraw([job_id])


class PermitsAreNotCounted(World):
    """Whoever asks for the semaphore gets it."""

    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        counts, Semaphore._has_room = Semaphore._has_room, _always  # type: ignore[method-assign, assignment]
        try:
            return super().begin(owner, job_ids)
        finally:
            Semaphore._has_room = counts  # type: ignore[method-assign]


def _always(one: Semaphore, *args: object) -> bool:
    return True


class PermitsStay(World):
    """Who leaves a job forgets what that held."""

    def hand_back(self, run: Recorded, settlement: Settlement) -> None:
        ownership.hand_back(self.database, run.job, settlement, keeps_permits=True)

    def settle(self, run: Recorded, settlement: Settlement) -> None:
        assert run.journal.fence is not None
        run.journal.fence = replace(run.journal.fence, holds=())
        super().settle(run, settlement)


class NobodyWaitsAgain(World):
    """Who resumes a job that waited for others forgets that it did."""

    def resume(self, job_id: str, *, seen: bool) -> None:
        after = jobs.c.parked_before == Parked.AFTER.value
        with self.database.write() as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id, after).values(parked_before=None))
        super().resume(job_id, seen=seen)


class SetsAreHalfCancelled(World):
    """Cancelling a set misses the last of its jobs."""

    def cancel_set(self, set_id: str, mode: CancelMode, *, seen: bool) -> Jobset:
        for job_id in jobsets.open_members(self.database, set_id)[:-1]:
            with contextlib.suppress(WrongState):
                self.cancel(job_id, mode, seen=seen)
        return jobsets.get_jobset(self.database, set_id)


class EndsAreFollowedTwice(World):
    """Whoever follows up on an end does not look whether somebody else has."""

    def follow(self, job_ids: Collection[str]) -> None:
        again = jobs.c.id.in_(sa.select(links.c.job_id).where(links.c.after_id.in_(list(job_ids))))
        with self.database.write() as connection:
            waiting = sa.update(jobs).where(again, jobs.c.state == JobState.WAITING.value)
            connection.execute(waiting.values(state=JobState.BLOCKED.value))
        super().follow(job_ids)


# Reconcilers


class Unguarded(Reconciler):
    """Posts again at once what runs and is missing."""

    def _kept_elsewhere(self, job_ids: Sequence[str]) -> set[str]:
        return set()


class WithdrawsClaims(Reconciler):
    """Takes off the board what does not wait in the store."""

    def withdraw_finished(self) -> int:
        rows, _ = self._board.list(limit=500)
        states = self._store.states([row.entry.job_id for row in rows])
        return self._board.withdraw([job_id for job_id in states if states[job_id] is not JobState.WAITING])


class NeverReposts(Reconciler):
    def repost_missing(self) -> int:
        return 0


class NeverFollows(Reconciler):
    """Leaves what came after jobs whose owners died to nobody."""

    def follow_ended(self) -> int:
        return 0


def with_reconciler(kind: type[Reconciler]) -> type[World]:
    class Reconciled(World):
        def make_reconciler(self, leader: str) -> Reconciler:
            sound = super().make_reconciler(leader)
            sound.__class__ = kind
            return sound

    return Reconciled
