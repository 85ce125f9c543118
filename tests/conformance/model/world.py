"""The real thing under the model's clock: a store, a board, and the calls that conductors and people make.

Each method is one call, or the few that the conductor's code makes in a row. Mutants replace single methods.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from taskflow import states
from taskflow.persistence import models

from jobrunner.boards.board import Board
from jobrunner.conductor.reconciling.reconciler import Reconciled, Reconciler
from jobrunner.conductor.reconciling.waker import Waker
from jobrunner.conductor.supervisor.keeper import Claims, LeaseKeeper
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, JobNotFound
from jobrunner.jobs import change, following, jobsets, post, remove
from jobrunner.jobs import signals as signalling
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.jobsets import Jobset, RetriedSet
from jobrunner.jobs.post import Posted
from jobrunner.model import CancelMode, Job, JobClass, JobState, Posting, Priority, When
from jobrunner.persistence import flows, signals
from jobrunner.persistence.flows import META_KEY
from jobrunner.persistence.journal.books import load_flow
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.ownership import beginning, ownership, unowned
from jobrunner.persistence.ownership.beginning import Begun
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.signals import Signal
from jobrunner.persistence.tables import links, metadata, permits, settings, taskflow_metadata
from jobrunner.persistence.tables import signals as signal_table
from jobrunner.persistence.wishes import wishes
from jobrunner.plugins.registry import JobType, Registry
from jobrunner.policies import NO_POLICIES, Policies
from tests.conformance.model.clock import START_MS, Clock
from tests.conformance.model.expected import ATOMS, LEADERSHIP_S, SIGNAL
from tests.support.journals import Recorded

NODE = "node"
TYPES = ("plain", "other")


@dataclass(frozen=True)
class Snapshots:
    """How this board's data are taken aside and put back, as a server's operator would."""

    take: Callable[[], Any]
    put_back: Callable[[Any], None]


class World:
    """Board and store, made anew for each sequence."""

    def __init__(self, database: Database, board: Board, clock: Clock, snapshots: Snapshots) -> None:
        self.database, self.board, self.clock, self.snapshots = database, board, clock, snapshots
        self.writer = Writer(database)
        self.context = self._context(lambda: board)
        self._number = 0
        self._reconcilers: dict[str, Reconciler] = {}

    def reset(self) -> None:
        """Forget all jobs."""
        self.clock.set(START_MS)
        self.board.clear()
        self._number = 0
        self._reconcilers = {}
        with self.database.write() as connection:
            for table in reversed([*taskflow_metadata.sorted_tables, *metadata.sorted_tables]):
                if table is not settings:
                    connection.execute(sa.delete(table))

    def new_job_id(self) -> str:
        """In the place of random ones, so that a sequence is the same whenever it is run."""
        self._number += 1
        return str(uuid.UUID(int=self._number))

    # -- people

    def post(
        self,
        type_: str,
        count: int,
        priority: Priority,
        delay_ms: int,
        *,
        seen: bool,
        policies: Policies = NO_POLICIES,
    ) -> list[str]:
        available_ms = self.clock.now_ms + delay_ms if delay_ms else None
        posting = Posting(type=type_, priority=priority, available_ms=available_ms, policies=policies)
        posted = post.post_many(self._seeing(seen), [posting] * count)
        assert {one.on_board for one in posted} == {seen}
        return [one.job_id for one in posted]

    def cancel(self, job_id: str, mode: CancelMode, *, seen: bool) -> JobState:
        context = self._seeing(seen)
        return change.cancel(context, context.store.get(job_id), mode)

    def retry(self, job_id: str, *, seen: bool) -> None:
        context = self._seeing(seen)
        change.retry(context, context.store.get(job_id))

    def suspend(self, job_id: str, *, seen: bool) -> None:
        context = self._seeing(seen)
        change.suspend(context, context.store.get(job_id))

    def resume(self, job_id: str, *, seen: bool) -> None:
        context = self._seeing(seen)
        change.resume(context, context.store.get(job_id))

    def signal(self, job_id: str, data: str, *, seen: bool) -> None:
        context = self._seeing(seen)
        signalling.signal(context, context.store.get(job_id), SIGNAL, data)

    def post_linked(self, postings: Sequence[Posting], *, seen: bool) -> list[Posted]:
        return post.post_many(self._seeing(seen), postings)

    def post_set(self, postings: Sequence[Posting], *, seen: bool) -> tuple[str | None, list[Posted]]:
        made = jobsets.post_set(self._seeing(seen), postings)
        return made.id, made.posted

    def cancel_set(self, set_id: str, mode: CancelMode, *, seen: bool) -> Jobset:
        context = self._seeing(seen)
        return jobsets.cancel(context, jobsets.find(context, set_id), mode)

    def retry_set(self, set_id: str, *, seen: bool) -> RetriedSet:
        context = self._seeing(seen)
        return jobsets.retry(context, jobsets.find(context, set_id))

    def delete(self, job_id: str, *, seen: bool) -> None:
        if not remove.delete(self._seeing(seen), job_id).existed:
            raise JobNotFound(f"There is no job {job_id}.")

    # -- conductors

    def first_signal(self, job_id: str) -> Signal | None:
        return signals.first_untaken(self.database, job_id, SIGNAL, but=())

    def take(self, run: Recorded, atom: str, signal: Signal) -> None:
        """To be committed with what is recorded of the atom next."""
        run.journal.take_with(run.task(atom).uuid, signal.seq)

    def wake(self, job_ids: Collection[str]) -> None:
        """Look after jobs that were left, and may await what is there."""
        found = self.context.store.get_many(sorted(job_ids)).values()
        Waker(self.database, self.board)([replace(job, state=JobState.SUSPENDED) for job in found])

    def follow(self, job_ids: Collection[str]) -> None:
        """Let those go on that come after jobs which have ended."""
        following.follow(self.database, lambda: self.board, job_ids)

    def claim(self, owner: str, types: Collection[str], limit: int, lease: float) -> list[str]:
        return self.board.claim(owner, classes(types), limit=limit, lease=lease)

    def begin(self, owner: str, job_ids: Sequence[str]) -> Begun:
        return beginning.begin(self.database, job_ids, owner=owner, node=NODE)

    def load(self, job: Job, *, fresh: bool) -> Recorded:
        """The flow of a job that was begun, as it is recorded so far, and its journal."""
        found = None
        if not fresh:
            with self.database.read() as connection:
                found = load_flow(connection, job.flow_id)
        detail = found[0] if found is not None else _new_flow(job)
        holds = tuple(hold.name for hold in job.policies.holds)
        fence = Fence(
            job_id=job.id,
            epoch=job.epoch,
            attempt=job.attempt,
            owner=job.owner or "",
            node=NODE,
            holds=holds,
        )
        book = {"uuid": job.id, "name": job.type, "meta": "{}"}
        journal = FlowJournal(
            self.writer, detail, book_id=job.id, book=book, fence=fence, stored=found is not None
        )
        return Recorded(job, detail, journal)

    def commit(self, run: Recorded) -> None:
        run.journal.barrier()

    def settle(self, run: Recorded, settlement: Settlement) -> None:
        run.journal.settle(settlement)

    def hand_back(self, run: Recorded, settlement: Settlement) -> None:
        ownership.hand_back(self.database, run.job, settlement)

    def keep(self, owner: str, job_ids: Sequence[str], lease: float) -> set[str]:
        return self.board.keep([(job_id, owner) for job_id in job_ids], lease=lease)

    def keeper(self, owner: str, job_ids: Sequence[str], lease: float) -> dict[str, set[str]]:
        """One round of the supervisor's lease keeper; the ids of the claims that it says are kept, and lost."""
        told: dict[str, set[str]] = {"kept": set(), "lost": set()}

        def tell(owner: str, kind: str, **content: Any) -> None:
            told[kind].update(content["ids"])

        claims = Claims()
        claims.add(owner, list(job_ids))
        LeaseKeeper(lambda: self.board, self.database, claims, lease=lease, tell=tell).keep()
        return told

    def hand_back_of(self, owner: str) -> set[str]:
        return set(unowned.hand_back_of(self.database, [owner]))

    def reconcile(self, leader: str) -> Reconciled | None:
        if leader not in self._reconcilers:
            self._reconcilers[leader] = self.make_reconciler(leader)
        return self._reconcilers[leader].run_if_leader()

    def make_reconciler(self, leader: str) -> Reconciler:
        return Reconciler(self.database, self.board, holder=leader, lease=LEADERSHIP_S)

    # -- what there is

    def jobs(self) -> dict[str, Job]:
        return self.context.store.get_many([str(uuid.UUID(int=n + 1)) for n in range(self._number)])

    def atoms(self, jobs: Collection[Job]) -> dict[str, dict[str, tuple[str, object]]]:
        found = flows.atoms_of(self.database, list(jobs))
        return {
            job_id: {atom.name: (atom.state, atom.result) for atom in atoms}
            for job_id, atoms in found.items()
        }

    def links(self) -> dict[str, dict[str, When]]:
        """Which jobs come first, by the job that comes after them, and on which end."""
        found: dict[str, dict[str, When]] = defaultdict(dict)
        with self.database.read() as connection:
            query = sa.select(links.c.job_id, links.c.after_id, links.c.condition)
            for job_id, first, condition in connection.execute(query):
                found[job_id][first] = When(condition)
        return dict(found)

    def untaken(self) -> dict[str, list[Any]]:
        """The data of signals that no task took, by job; oldest first."""
        query = sa.select(signal_table.c.job_id, signal_table.c.data).where(signal_table.c.taken_ms.is_(None))
        found: dict[str, list[Any]] = defaultdict(list)
        with self.database.read() as connection:
            for job_id, data in connection.execute(query.order_by(signal_table.c.seq)):
                found[job_id].append(json.loads(data))
        return dict(found)

    def holders(self) -> set[str]:
        """The jobs that hold a semaphore."""
        with self.database.read() as connection:
            return set(
                connection.execute(sa.select(permits.c.job_id).where(permits.c.granted == 1)).scalars()
            )

    def cancel_requests(self, owners: Sequence[str]) -> Mapping[str, CancelMode]:
        return wishes(self.database, owners).cancel

    def _seeing(self, seen: bool) -> JobContext:
        """The context of a person who reaches the board, or does not."""
        return self.context if seen else self._context(_away)

    def _context(self, open_board: Callable[[], Board]) -> JobContext:
        return JobContext(Config(), self.database, open_board, _registry)


def classes(types: Collection[str]) -> list[JobClass]:
    return [JobClass(type=name) for name in types]


def _away() -> Board:
    raise BoardUnavailable


def _nothing(value: str = "") -> None:
    return None


def _registry() -> Registry:
    registry = Registry()
    for name in TYPES:
        registry.add_type(JobType(name=name, factory=_nothing, module=name, package=name, source="test"))
    return registry


def _new_flow(job: Job) -> models.FlowDetail:
    detail = models.FlowDetail(job.type, job.flow_id)
    detail.meta = {META_KEY: {}}
    for name in ATOMS:
        atom = models.TaskDetail(name, str(uuid.uuid5(uuid.UUID(job.flow_id), name)))
        atom.state, atom.intention = states.PENDING, states.EXECUTE
        detail.add(atom)
    return detail
