"""Conductors as processes, and what they left: start, kill and pause them, wait for states, read the evidence.

The processes are warm ones (see :mod:`tests.support.warm`), unless the cluster is ``cold``.

Everything waits with a deadline; what fails shows the ends of the conductors' logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobrunner.assemble import make_context
from jobrunner.conductor.isolation.guardian import NAME as GUARDIAN
from jobrunner.config import Config, load_config
from jobrunner.jobs import post
from jobrunner.jobs.context import JobContext
from jobrunner.model import AtomRecord, CancelMode, Job, JobState, Posting
from jobrunner.persistence import flows
from jobrunner.persistence.ownership import ownership
from jobrunner.persistence.schema import SchemaState, schema_state, upgrade
from jobrunner.persistence.server.database import Database
from tests.support import warm

FLOWS = Path(__file__).with_name("flows")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
TAIL_LINES = 60


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of evidence."""

    job: str
    atom: str
    what: str
    pid: int
    at: float


def _is_guardian(process: psutil.Process) -> bool:
    return _name(process) == GUARDIAN


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended; its parent may not have asked how yet."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Conductor:
    """One conductor in a process of its own."""

    def __init__(self, cluster: Cluster, name: str, *, once: bool, settings: dict[str, Any]) -> None:
        self.name = name
        self.log_path = cluster.directory / f"{name}.{time.monotonic_ns()}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(cluster.directory),
            "PYTHONPATH": str(ROOT),
            **cluster.environment,
            "JOBRUNNER_CONDUCTOR__NAME": name,
            **{f"JOBRUNNER_{key.upper()}": str(value) for key, value in settings.items()},
        }
        with self.log_path.open("wb") as log:
            self.process = warm.start(
                ["run", *(["--once"] if once else [])],
                env=environment,
                cwd=cluster.working_directory,
                stdout=log,
                stderr=log,
                cold=cluster.cold,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that live and claim jobs: children of its fork server."""
        return [child for child in self._forked() if not _is_guardian(child)]

    def alone(self) -> list[psutil.Process]:
        """Its processes that live and run one job each, or wait for it: children of guardians."""
        found: list[psutil.Process] = []
        for guardian in filter(_is_guardian, self._forked()):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child for child in guardian.children() if _name(child).startswith("jobrunner ")]
        return [child for child in found if lives(child.pid)]

    def _forked(self) -> list[psutil.Process]:
        try:
            servers = psutil.Process(self.process.pid).children()
            return [child for server in servers for child in server.children() if lives(child.pid)]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for the supervisor alone: its workers are to notice."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """SIGKILL for all of it at once, as when the machine dies."""
        self.pause()
        for process in [*self.workers(), *self.alone(), psutil.Process(self.process.pid)]:
            process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP for all of it."""
        self.signal(signal.SIGSTOP)
        for worker in [*self.workers(), *self.alone()]:
            worker.suspend()

    def resume(self) -> None:
        """SIGCONT for all of it."""
        for worker in [*self.workers(), *self.alone()]:
            worker.resume()
        self.signal(signal.SIGCONT)

    def wait(self, seconds: float = DEADLINE_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout=seconds)

    def end(self) -> None:
        """Be sure that nothing of it is left."""
        left = [*self.workers(), *self.alone()]
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for worker in left:
            try:
                worker.kill()
            except psutil.NoSuchProcess:
                continue

    def tail(self) -> str:
        lines = self.log.splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- the end of the log of {self.name} (pid {self.process.pid}):", *lines])


class Cluster:
    """A store, a board, and the conductors that a test starts on them.

    :param cold: the conductors' processes import for themselves what they need
    """

    def __init__(
        self,
        directory: Path,
        *,
        store_url: str,
        board_url: str | None = None,
        lease: float = 1.0,
        cold: bool = False,
    ) -> None:
        self.directory = directory
        self.working_directory = self.directory
        self.cold = cold
        self.evidence_path = directory / "evidence"
        self.environment = {
            "JOBRUNNER_PERSISTENCE__URL": store_url,
            "JOBRUNNER_CONDUCTOR__LEASE": str(lease),
            "JOBRUNNER_CONDUCTOR__PROCESSES": "1",
            "JOBRUNNER_FLOWS": str(FLOWS),
        }
        if board_url is not None:
            self.environment["JOBRUNNER_BOARD__URL"] = board_url
        self.lease = lease
        self.conductors: list[Conductor] = []
        database = Database(store_url)
        if schema_state(database) is not SchemaState.CURRENT:
            upgrade(database)
        database.close()
        self.context = self._context()

    def _context(self) -> JobContext:
        environment = {key: value for key, value in self.environment.items() if key != "JOBRUNNER_FLOWS"}
        loaded = load_config(environ=environment, flags={"flows.paths": [FLOWS]})
        return make_context(loaded.config)

    @property
    def config(self) -> Config:
        return self.context.config

    def start(
        self, name: str = "alice", *, once: bool = False, ready: bool = True, **settings: Any
    ) -> Conductor:
        """Start a conductor; with ``ready`` return once its workers take jobs.

        :param settings: configuration as ``section__key=value``
        """
        conductor = Conductor(self, name, once=once, settings=settings)
        self.conductors.append(conductor)
        if ready and not once:
            wanted = int(settings.get("conductor__processes", 1))
            self.until(lambda: self._ready(conductor) >= wanted, f"{name} is ready")
        return conductor

    @staticmethod
    def _ready(conductor: Conductor) -> int:
        return conductor.log.count("takes jobs")

    def close(self) -> None:
        for conductor in self.conductors:
            conductor.end()
        self.context.close()

    # Jobs

    def post(
        self, type_: str, *, count: int = 1, posting: dict[str, Any] | None = None, **parameters: Any
    ) -> str:
        """Post a job; its id. ``evidence`` and ``gate`` are filled in where the type has them."""
        return self.post_many(type_, count=1, posting=posting, **parameters)[0]

    def post_many(
        self, type_: str, *, count: int, posting: dict[str, Any] | None = None, **parameters: Any
    ) -> list[str]:
        known = self.context.registry.get_type(type_).parameters.json_schema()["properties"]
        if "evidence" in known:
            parameters.setdefault("evidence", str(self.evidence_path))
        made = [Posting(type=type_, parameters=parameters, **(posting or {})) for _ in range(count)]
        return [posted.job_id for posted in post.post_many(self.context, made)]

    def gate(self, name: str = "gate") -> str:
        """The path of a gate; not open yet."""
        return str(self.directory / name)

    def open(self, gate: str) -> None:
        Path(gate).touch()

    def job(self, job_id: str) -> Job:
        return self.context.store.get(job_id)

    def cancel(self, job_id: str, mode: CancelMode = CancelMode.REVERT) -> JobState:
        return ownership.request_cancel(self.context.database, job_id, mode)[0]

    def atoms(self, job_id: str) -> dict[str, AtomRecord]:
        found = flows.atoms_of(self.context.database, [self.job(job_id)])[job_id]
        return {atom.name: atom for atom in found}

    def owner_changes(self, job_id: str) -> list[str]:
        """The nodes that claimed the job, in turn."""
        events = self.context.store.history(job_id)
        return [str(event["owner"]).split(":")[0] for event in events if event["kind"] == "claimed"]

    def ends(self, job_id: str) -> list[str]:
        """The terminal states that the job's history tells of; there must never be two."""
        terminal = {state.value.lower() for state in JobState if state.is_terminal}
        return [event["kind"] for event in self.context.store.history(job_id) if event["kind"] in terminal]

    # Waiting

    def until(self, condition: Callable[[], object], what: str, *, within: float = DEADLINE_S) -> float:
        """Return once the condition holds, with the seconds that it took; fail with the logs if it does not in time."""
        began = time.monotonic()
        while True:
            if condition():
                return time.monotonic() - began
            if time.monotonic() > began + within:
                tails = "\n".join(conductor.tail() for conductor in self.conductors)
                raise AssertionError(f"not within {within} s: {what}\n{tails}")
            threading.Event().wait(0.01)

    def ended(self, *job_ids: str, within: float = DEADLINE_S) -> list[Job]:
        """The jobs once all have ended."""
        self.until(
            lambda: all(state.is_terminal for state in self.context.store.states(job_ids).values()),
            f"these jobs have ended: {', '.join(job_ids[:5])}",
            within=within,
        )
        return [self.job(job_id) for job_id in job_ids]

    def succeeded(self, *job_ids: str, within: float = DEADLINE_S) -> None:
        """Fail unless all the jobs end, and well, and once."""
        states = Counter(job.state for job in self.ended(*job_ids, within=within))
        assert states == {JobState.SUCCEEDED: len(job_ids)}, f"{states}\n{self.conductors[0].tail()}"

    def succeeded_here(self, job_id: str) -> None:
        """The same for a job that the test itself runs."""
        assert self.in_state(job_id, JobState.SUCCEEDED).state is JobState.SUCCEEDED

    def in_state(self, job_id: str, state: JobState, *, within: float = DEADLINE_S) -> Job:
        self.until(lambda: self.job(job_id).state is state, f"{job_id} is {state}", within=within)
        return self.job(job_id)

    # Evidence

    def evidence(
        self, *, job: str | None = None, atom: str | None = None, what: str | None = None
    ) -> list[Line]:
        """The lines that the tasks left, in order; of one job, atom or kind."""
        if not self.evidence_path.exists():
            return []
        text = self.evidence_path.read_text()
        lines = [Line(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [
            line
            for line in lines
            if job in (None, line.job) and atom in (None, line.atom) and what in (None, line.what)
        ]

    def started(self, atom: str, *, job: str | None = None, times: int = 1) -> Line:
        """The last start of an atom, once it was started so often."""
        self.until(
            lambda: len(self.evidence(job=job, atom=atom, what="start")) >= times,
            f"{atom} started {times} times",
        )
        return self.evidence(job=job, atom=atom, what="start")[-1]

    def check_evidence(self, job_ids: Sequence[str]) -> None:
        """What holds after every fault: one end a job, and no atom again that had ended in the record."""
        for job_id in job_ids:
            assert len(self.ends(job_id)) == 1, f"{job_id} ended as {self.ends(job_id)}"
            for name, atom in self.atoms(job_id).items():
                starts = self.evidence(job=job_id, atom=name, what="start")
                assert len(starts) <= atom.starts, (
                    f"{name} started {len(starts)} times, recorded {atom.starts}"
                )


@contextmanager
def cluster(directory: Path, **options: Any) -> Iterator[Cluster]:
    found = Cluster(directory, **options)
    try:
        yield found
    finally:
        found.close()
