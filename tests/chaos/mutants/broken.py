"""The mutants: what each replaces in jobrunner's modules, and which invariants must tell.

Each is broken as somebody might break it, by a change of a few lines; where it pauses, that is to widen a window which
is there without the pause, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from jobrunner.boards.redis import RedisBoard
from jobrunner.conductor.engine.waits import JobWaits
from jobrunner.conductor.isolation.guardian import _Guardian as Guardian
from jobrunner.conductor.reconciling.reconciler import PAGE, Reconciler
from jobrunner.conductor.supervisor import process, supervisor
from jobrunner.conductor.supervisor.dead_workers import DeadWorkers
from jobrunner.conductor.supervisor.keeper import Claims
from jobrunner.conductor.worker.known_types import KnownTypes
from jobrunner.jobs import following
from jobrunner.model import BoardEntry, Job, JobState
from jobrunner.persistence import signals
from jobrunner.persistence.chains import deciding
from jobrunner.persistence.journal import statements
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.ownership import beginning
from jobrunner.persistence.ownership.settling import Settlement, set_columns
from jobrunner.persistence.permits.semaphores import Semaphore
from jobrunner.persistence.pipelines.pipeline import NotHeld, Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, jobs

FOR_EVER_S = 7 * 24 * 3600.0
NAMES = ("alice", "bob", "carol")
GAP_S = 0.6
"""So long after the board SQL hears of a job's end; and who took a signal does nothing with it."""

Change = tuple[Any, str, Any]
"""An object, the name of its attribute, and what takes its place."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way to break jobrunner.

    :param plan: the faults that bring it out
    :param caught_by: the invariants of which at least one must be found violated
    """

    name: str
    breaks: str
    plan: str
    caught_by: frozenset[str]
    changes: Callable[[], list[Change]]


def break_it(name: str) -> None:
    """Break this process, for good."""
    for thing, attribute, value in MUTANTS[name].changes():
        getattr(thing, attribute)  # raises if nothing has that name any more: then nothing would be broken
        setattr(thing, attribute, value)


@contextlib.contextmanager
def broken(name: str | None) -> Iterator[None]:
    """Break this process for a while; None breaks nothing."""
    with contextlib.ExitStack() as stack:
        for thing, attribute, value in MUTANTS[name].changes() if name is not None else ():
            stack.callback(setattr, thing, attribute, getattr(thing, attribute))
            setattr(thing, attribute, value)
        yield


# -- the fence


def _nothing(*args: Any, **options: Any) -> None:
    return None


def _no_fence() -> list[Change]:
    def holds(fence: Fence | None, held: dict[str, tuple[int, str]]) -> bool:
        return fence is None or fence.job_id in held

    return [(statements, "_holds", holds), (statements, "rely_on_epochs", _nothing)]


_EPOCHS_AS_READ = Statement(
    sa.select(jobs).where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))), many="job_ids"
)


def _compares_apart() -> list[Change]:
    def read(pipeline: Pipeline, job_ids: Iterable[str]) -> statements.Rows:
        return {row["id"]: row for row in lock_rows(pipeline, list(job_ids), _EPOCHS_AS_READ)}

    def epochs_held(pipeline: Pipeline, fences: Sequence[Fence], wanted: Any = None) -> statements.Rows:
        return read(pipeline, [fence.job_id for fence in fences])

    def rely_on_epochs(pipeline: Pipeline, epochs: Mapping[str, int]) -> None:
        wanted = {job_id: (epoch, JobState.RUNNING.value) for job_id, epoch in epochs.items()}
        found = read(pipeline, epochs)
        if {job_id: (row["epoch"], row["state"]) for job_id, row in found.items()} != wanted:
            raise NotHeld

    return [(statements, "epochs_held", epochs_held), (statements, "rely_on_epochs", rely_on_epochs)]


def _compares_in_a_subquery() -> list[Change]:
    def update_atoms(pipeline: Pipeline, batch: statements.Batch, now: Any) -> None:
        for flow, changes in batch:
            assert flow.fence is not None
            fence = {"fence_job": flow.fence.job_id, "fence_epoch": flow.fence.epoch}
            for key, columns in changes.atoms.items():
                said = {f"new_{name}": value for name, value in {**columns, "updated_at": now}.items()}
                pipeline.add(_guarded(tuple(columns)), [{"key": key, **said, **fence}])

    return [*_compares_apart(), (statements, "_update_atoms", update_atoms)]


def _guarded(names: tuple[str, ...]) -> Statement:
    """Set columns of an atom if a subquery finds the epoch unchanged."""
    columns = {
        name: sa.bindparam(f"new_{name}", type_=atomdetails.c[name].type) for name in (*names, "updated_at")
    }
    same = sa.exists().where(
        jobs.c.id == sa.bindparam("fence_job"), jobs.c.epoch == sa.bindparam("fence_epoch")
    )
    return Statement(
        atomdetails.update().where(atomdetails.c.uuid == sa.bindparam("key"), same).values(columns)
    )


# -- barriers and ends


def _no_barrier() -> list[Change]:
    def barrier(journal: FlowJournal) -> None:
        if journal._error is not None:
            raise journal._error

    return [(FlowJournal, "barrier", barrier)]


def _consume_before_settle() -> list[Change]:
    def settle_then(journal: FlowJournal, settlement: Settlement, tell: Callable[[], None]) -> None:
        tell()
        time.sleep(GAP_S)
        journal._settle(settlement)
        journal.writer.flush(journal)

    return [(FlowJournal, "settle_then", settle_then)]


# -- claims


def _no_expiry() -> list[Change]:
    def lasting(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, lease, **options: call(*args, lease=FOR_EVER_S, **options)

    return [
        (RedisBoard, name, lasting(getattr(RedisBoard, name))) for name in ("claim", "claim_these", "keep")
    ]


def _shared_name() -> list[Change]:
    start_worker = process.start_worker

    def start(forks: Any, identity: str, *args: Any, **options: Any) -> process.WorkerProcess:
        return start_worker(forks, "anybody", *args, **options)

    same = SimpleNamespace(uuid4=lambda: SimpleNamespace(hex="anybody"))
    return [(process, "uuid", same), (supervisor, "start_worker", start)]


def _no_hand_back() -> list[Change]:
    return [(DeadWorkers, "hand_back", _nothing)]


def _keeps_for_the_dead() -> list[Change]:
    return [*_no_hand_back(), (Claims, "drop", _nothing)]


# -- the reconciler


def _unguarded_reconciler() -> list[Change]:
    """It goes by what it read a round ago, and asks nobody again; the jobs that it posts it sets waiting."""
    seen: list[BoardEntry] = []

    def repost_missing(self: Reconciler) -> int:
        missing, seen[:] = list(seen), _missing(self)
        if not missing:
            return 0
        wait = jobs.update().where(jobs.c.id.in_([entry.job_id for entry in missing]))
        with self._database.write() as connection:
            connection.execute(wait.values(state=JobState.WAITING.value, owner=None))
        return self._board.post(missing)

    return [(Reconciler, "repost_missing", repost_missing)]


def _missing(reconciler: Reconciler) -> list[BoardEntry]:
    found: list[BoardEntry] = []
    after: int | None = 0
    while after is not None:
        open_, after = reconciler._store.open_ids(after=after, limit=PAGE)
        known = reconciler._board.known(open_)
        found += reconciler._store.entries([job_id for job_id in open_ if job_id not in known])
    return found


# -- a job's whole life


def _holds_die_with_owners() -> list[Change]:
    """Whoever claims a job does not look whether somebody wants it suspended."""
    read = beginning.job_from_row

    def job_from_row(row: Any) -> Job:
        return replace(read(row), held=False)

    return [(beginning, "job_from_row", job_from_row)]


def _permits_are_not_counted() -> list[Change]:
    def has_room(one: Semaphore, *args: Any) -> bool:
        return True

    return [(Semaphore, "_has_room", has_room)]


def _decides_twice() -> list[Change]:
    """As when two look at once, and neither asks again, under the lock, whether the other was quicker."""
    decide, lock = deciding.decide, deciding.lock_rows

    def still_blocked(*args: Any) -> list[dict[str, Any]]:
        return [{**row, "state": JobState.BLOCKED.value} for row in lock(*args)]

    def twice(database: Database, job_ids: Sequence[str], *, now_ms: int) -> deciding.Followed:
        decide(database, job_ids, now_ms=now_ms)
        return decide(database, job_ids, now_ms=now_ms)

    return [(deciding, "lock_rows", still_blocked), (following, "decide", twice)]


def _takes_unfenced() -> list[Change]:
    """A signal is taken when it is read, and not with what is recorded of who took it."""
    find = JobWaits.signal

    def signal(waits: JobWaits, name: str) -> signals.Signal | None:
        found = find(waits, name)
        if found is not None:
            now_ms = time.time_ns() // 1_000_000
            waits._database.pipelined(lambda pipeline: signals.take(pipeline, [found.seq], now_ms))
            time.sleep(GAP_S)
        return found

    return [(JobWaits, "signal", signal)]


# -- conditions


def _outlived() -> list[Change]:
    """A guardian that does not look for what is left, as when only the process itself is ended."""

    def end_all(guardian: Guardian) -> int:
        return 0

    return [(Guardian, "_end_all", end_all)]


def _starts_expired() -> list[Change]:
    """Only what nobody has claimed expires."""

    def is_expired(job: Job, now_ms: int) -> bool:
        return False

    return [(beginning, "is_expired", is_expired)]


def _takes_pinned() -> list[Change]:
    """A node claims what waits for others, too."""
    tell = KnownTypes.tell

    def tell_all(known: KnownTypes) -> None:
        tell(known)
        known.classes |= {replace(one, node=name) for one in known.classes for name in NAMES}

    return [(KnownTypes, "tell", tell_all)]


def _unique_while_it_waits() -> list[Change]:
    """A job lets its key go when it starts, not when it ends."""
    raise_epochs = beginning._raise_epochs

    def let_go(pipeline: Pipeline, started: Sequence[Job], **options: Any) -> None:
        raise_epochs(pipeline, started, **options)
        if started:
            set_columns(pipeline, [job.id for job in started], {"unique_key": None})

    return [(beginning, "_raise_epochs", let_go)]


def _mutant(name: str, breaks: str, plan: str, caught_by: str, changes: Callable[[], list[Change]]) -> Mutant:
    return Mutant(
        name=name, breaks=breaks, plan=plan, caught_by=frozenset(caught_by.split()), changes=changes
    )


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        _mutant("no_fence", "epochs are not compared", "pauses", "I2 I4 I5 I6 I7", _no_fence),
        _mutant(
            "unlocked_fence", "epochs are compared by a query that locks nothing", "late_answers",
            "I2 I4 I5 I6 I7", _compares_apart,
        ),
        _mutant(
            "subquery_fence", "epochs are compared in a subquery of the write", "interleaving",
            "I4", _compares_in_a_subquery,
        ),
        _mutant("no_barrier", "atoms start before anything is committed", "deaths", "I2 I3 I6", _no_barrier),
        _mutant("no_expiry", "leases never run out", "deaths", "I1 I8", _no_expiry),
        _mutant("shared_name", "all workers claim under one name", "suspects", "I1 E", _shared_name),
        _mutant(
            "unguarded_reconciler", "what the board had lost is set waiting, whatever became of it since", "forgetting",
            "I5", _unguarded_reconciler,
        ),
        _mutant(
            "consume_before_settle", "the board hears of a job's end before SQL does", "leaders",
            "I1 I8", _consume_before_settle,
        ),
        _mutant("no_hand_back", "a dead worker's claims are left to run out", "workers", "I8", _no_hand_back),
        _mutant(
            "keeps_for_the_dead", "a dead worker's leases are kept on", "deaths", "I1 I8", _keeps_for_the_dead,
        ),
        _mutant(
            "holds_die_with_owners", "whoever takes a job over does not ask whether it was suspended", "holds",
            "I14", _holds_die_with_owners,
        ),
        _mutant(
            "permits_are_not_counted", "a semaphore is granted whatever is held of it", "permits",
            "I15", _permits_are_not_counted,
        ),
        _mutant(
            "decides_twice", "a follower is decided by each who looks", "chains", "I5 I12", _decides_twice,
        ),
        _mutant(
            "takes_unfenced", "a signal is taken before it is recorded by whom", "signals", "I1 I13", _takes_unfenced,
        ),
        _mutant(
            "outlived", "what a job's own process had started is left running", "apart", "I17", _outlived,
        ),
        _mutant(
            "starts_expired", "who claims a job does not ask whether it has expired", "expiries",
            "I18", _starts_expired,
        ),
        _mutant("takes_pinned", "a node claims what waits for another", "places", "I19", _takes_pinned),
        _mutant(
            "unique_while_it_waits", "a unique job lets its key go when it starts", "uniques",
            "I20", _unique_while_it_waits,
        ),
    )
}  # fmt: skip
