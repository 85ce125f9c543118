"""An owner: a process that claims a job and runs it, as a worker does, to its end or to the fault that strikes it."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from sqlalchemy.exc import OperationalError

from jobrunner.conductor.run import Outcome, RunParts, run_job
from jobrunner.jobs.following import follow_all
from jobrunner.model import After, Posting
from jobrunner.persistence import signals
from jobrunner.persistence.ownership.beginning import Begun, begin
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.plugins.registry import JobType, Registry
from jobrunner.stopping import StopSignal
from tests.chaos.crash_points import evidence, faults
from tests.chaos.crash_points.faults import Fault, FaultyWriter, Writes
from tests.chaos.crash_points.shapes import SHAPES, WORD, Shape

LIFE_S = 60
"""An owner that takes longer hangs."""
OUTPUT_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Workings:
    """What runs a job: the real parts, unless one is broken on purpose."""

    make_writer: Callable[[Database, Writes], FaultyWriter] = FaultyWriter
    run: Callable[..., Outcome] = run_job


class OwnerBroke(Exception):
    """An owner ended neither well nor by its fault; its own words follow."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """What became of an owner."""

    pid: int
    died: bool
    """By its fault."""
    struck: bool
    """Whether its fault came: it has so many writes."""
    writes: int
    finished: bool
    """Whether it leaves the job as one that has ended."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a job is run.

    :param directory: for what owners leave
    """

    url: str
    shape: Shape
    job_ids: list[str]
    """The jobs of the shape in the order in which they run: one, or each but the first comes after the one before."""
    directory: Path
    workings: Workings

    @property
    def job_id(self) -> str:
        return self.job_ids[-1]

    @property
    def evidence(self) -> Path:
        return self.directory / f"{self.job_id}.evidence"

    def own(self, number: int, fault: Fault | None) -> Life:
        """Let the job's owner of this number live, in a process of its own."""
        report = self.directory / f"{self.job_id}.{number}.report"
        status = in_a_process(lambda: _own(self, number, fault, report), report.with_suffix(".log"))
        told = json.loads(report.read_text()) if report.exists() else None
        died = status == -signal.SIGKILL
        if told is None or status not in (0, -signal.SIGKILL) or died != told["dies"]:
            said = report.with_suffix(".log").read_text()
            raise OwnerBroke(
                f"{self.shape.name}, owner {number} with {fault}: status {status}, {told}\n{said}"
            )
        return Life(
            pid=told["pid"],
            died=died,
            struck=told["struck"],
            writes=told["writes"],
            finished=told["finished"],
        )


def in_a_process(work: Callable[[], None], log: Path) -> int:
    """Do the work in a forked process; its exit status, or the negative number of the signal that ended it.

    Forking is right only while the process has one thread and no database is open in it.
    """
    assert threading.active_count() == 1
    pid = os.fork()
    if pid == 0:
        _be_the_child(work, log)
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], LIFE_S)[0]:
            os.kill(pid, signal.SIGABRT)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _be_the_child(work: Callable[[], None], log: Path) -> NoReturn:
    status = 70
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(2 * LIFE_S)  # nobody is left behind, whatever becomes of the parent
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        faulthandler.enable(2)
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - the edge of the process: whatever it is, the log has it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def prepare(url: str, log: Path) -> None:
    """Make the tables."""

    def work() -> None:
        database = Database(url)
        upgrade(database)
        database.close()

    _do(work, log)


def post(url: str, shape: Shape, number: int, directory: Path) -> list[list[str]]:
    """Post jobs of a shape; their ids, of each of its chains together."""
    ids = directory / "posted"

    def work() -> None:
        database = Database(url)
        posting = Posting(type=_type_name(shape), policies=shape.policies)
        chain = [
            replace(posting, after=(After(job=place - 1),) if place else ()) for place in range(shape.jobs)
        ]
        made = []
        for _ in range(number):
            posted = Store(database).insert_linked(chain, now_ms=time.time_ns() // 1_000_000)
            made.append([one.id for one in posted])
        for job_id in [job_id for chained in made for job_id in chained]:
            for data in shape.signals:
                signals.send(database, job_id, WORD, data)
        ids.write_text(json.dumps(made))
        database.close()

    _do(work, ids.with_suffix(".log"))
    found: list[list[str]] = json.loads(ids.read_text())
    return found


def _do(work: Callable[[], None], log: Path) -> None:
    if in_a_process(work, log) != 0:
        raise OwnerBroke(log.read_text())


def warm_up(url: str, directory: Path) -> None:
    """Be an owner once, elsewhere: what that imports and compiles, no owner of this database has to do for itself.

    It leaves no thread and no open database.
    """
    Database(url).close()
    elsewhere = directory / "warm_up"
    elsewhere.mkdir()
    aside = f"sqlite:///{elsewhere}/jobrunner.sqlite"
    prepare(aside, elsewhere / "prepare.log")
    shape = SHAPES["linear"]
    stage = Stage(
        url=aside,
        shape=shape,
        job_ids=post(aside, shape, 1, elsewhere)[0],
        directory=elsewhere,
        workings=Workings(),
    )
    _own(stage, 1, None, elsewhere / "report")
    gc.collect()
    gc.freeze()  # the collector would copy all of it in every child


# -- in the owner's process


def _own(stage: Stage, number: int, fault: Fault | None, report: Path) -> None:
    database = Database(stage.url)

    def tell(dies: bool, finished: bool) -> None:
        struck = dies or writes.struck
        told = {
            "pid": os.getpid(),
            "dies": dies,
            "struck": struck,
            "writes": writes.count,
            "finished": finished,
        }
        report.write_text(json.dumps(told))

    writes = Writes(database.dialect, fault, lambda: tell(True, False))
    faults.count_here(writes)
    evidence.tell_in(stage.evidence)
    writer = stage.workings.make_writer(database, writes)
    writer.start()
    finished = _claim_and_run(stage, f"node:{number}:test", writer)
    writer.stop()
    database.close()
    tell(False, finished)


def _claim_and_run(stage: Stage, owner: str, writer: FaultyWriter) -> bool:
    """Own the job, and run it; when it waits for a time, go on at that. Whether it, and all after it, have ended."""
    finished = True
    for place in range(len(stage.job_ids)):
        finished = False
        while not finished:
            finished = _claim_and_run_once(stage, place, owner, writer)
            if not finished and not stage.shape.suspends:
                return False
        if place + 1 < len(stage.job_ids):
            _follow(writer)
    return finished


def _follow(writer: FaultyWriter) -> None:
    """Let the job that comes next go on, as a worker does, or the leader if that died. The board is nobody's here."""
    while True:
        try:
            with writer.writes.one():
                follow_all(writer.database, _Nowhere)  # type: ignore[arg-type]
                return
        except OperationalError as error:
            print(f"the answer to following was lost: {error}", file=sys.stderr)


class _Nowhere:
    """In the place of a board."""

    def post(self, entries: object) -> int:
        return 0


def _claim_and_run_once(stage: Stage, place: int, owner: str, writer: FaultyWriter) -> bool:
    job_id = stage.job_ids[place]
    due_ms = Store(writer.database).get(job_id).available_ms
    time.sleep(max(0.0, due_ms / 1000 - time.time()))
    begun = _claimed(job_id, owner, writer)
    if begun.finished:
        return True
    (job,) = begun.started
    evidence.label(place, job.attempt)
    registry = Registry()
    registry.add_type(
        JobType(
            name=_type_name(stage.shape),
            factory=stage.shape.flow,
            module=__name__,
            package=__name__,
            source="test",
            engine=stage.shape.engine,
        )
    )
    parts = RunParts(
        writer=writer, registry=lambda: registry, owner=owner, node="node", output_limit=OUTPUT_BYTES
    )
    return stage.workings.run(parts, job, StopSignal(), fresh=job.id in begun.fresh).finished


def _claimed(job_id: str, owner: str, writer: FaultyWriter) -> Begun:
    """Own the job. When the answer is lost the job goes back to the board, and is claimed once more."""
    while True:
        try:
            with writer.writes.one():
                return begin(writer.database, [job_id], owner=owner, node="node")
        except OperationalError as error:
            print(f"the claim's answer was lost: {error}", file=sys.stderr)


def _type_name(shape: Shape) -> str:
    return shape.name.replace(" ", "_")
