"""What is put to the test: how its conductors are started, and how its users post jobs and look at them.

``Jobrunner`` is the present package. Others take its place by the same methods: a conductor with something broken on
purpose (``startup`` names a directory that every Python process of it has on its path, with a ``sitecustomize.py``), or
another conductor altogether.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jobrunner import times
from jobrunner.assemble import make_context
from jobrunner.config import load_config
from jobrunner.errors import (
    CorruptRow,
    JobNotFound,
    JobrunnerError,
    NodeNotFound,
    StoreUnavailable,
    WaitTimedOut,
    WrongState,
)
from jobrunner.jobs import change, fan_out, jobsets, look, post, remove, signals
from jobrunner.jobs.context import JobContext
from jobrunner.model import Job, Posting
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database

if TYPE_CHECKING:
    from tests.chaos.case import Kind

ROOT = Path(__file__).parents[2]
FLOWS = Path(__file__).with_name("flows")
LABEL = "chaos"
"""What each conductor is labelled with."""
PATIENCE_S = 300.0
"""An outage of SQL that is shorter than this must cost no job."""


class Unavailable(Exception):
    """What a user asked for could not be done now; asking again is what a user would do."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where a client reaches the servers: through proxies of its own."""

    store_url: str
    board_url: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a user was told about a job: its state, whether that is its end, and the words of its error."""

    state: str
    terminal: bool
    words: str = ""
    hint: str = ""


class Client(Protocol):
    """A user's side of a system. For one thread."""

    def post(self, type_: str, parameters: Mapping[str, Any], key: str | None) -> str:
        """Post a job; its id once that is acknowledged. Raises Unavailable."""

    def look(self, job_id: str) -> Seen:
        """What the system says of the job now. Raises Unavailable."""

    def wait(self, job_id: str, seconds: float) -> Seen | None:
        """Wait for its end; None if it does not come in time. Raises Unavailable."""

    def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """The jobs that a post was acknowledged for, each with its kind, and the set that they are in."""

    jobs: list[tuple[str, Kind]]
    jobset: str | None = None


class LifeClient(Client, Protocol):
    """A user's side of a system whose jobs can be retried, held, linked, signalled and placed. For one thread."""

    def post_kind(self, kind: Kind, key: str | None) -> Made:
        """Post a job, or the jobs of a set; what there is once that is acknowledged. Raises Unavailable."""

    def operate(self, what: str, job_id: str) -> bool:
        """Suspend, resume, cancel, retry or delete a job; False if that was refused. Raises Unavailable."""

    def signal(self, job_id: str, name: str, token: str) -> bool:
        """Send a signal under its own token as the key; False if that was refused. Raises Unavailable."""

    def look_at_set(self, jobset_id: str) -> tuple[str, dict[str, int]]:
        """The state of a jobset, and how many of its jobs are in which. Raises Unavailable."""


class System(Protocol):
    """A conductor and its users."""

    name: str
    has_epochs: bool
    has_lives: bool
    """Whether jobs can be retried, held, linked and signalled."""

    def prepare(self, store_url: str) -> None:
        """Make the tables."""

    def command(self) -> list[str]:
        """The command line of a conductor."""

    def environment(self, servers: Servers, *, node: str, lease: float, workers: int) -> dict[str, str]:
        """The variables that a conductor gets."""

    def ready(self, log: str) -> int:
        """How many workers say, in the log, that they take jobs."""

    def client(self, servers: Servers) -> Client:
        """A user."""


class Jobrunner:
    """The package as it is.

    :param startup: a directory that goes first on the path of every process of its conductors
    """

    name = "jobrunner"
    has_epochs = True
    has_lives = True

    def __init__(self, *, startup: Path | None = None, slots: int = 8) -> None:
        self._startup = startup
        self._slots = slots

    def prepare(self, store_url: str) -> None:
        database = Database(store_url)
        upgrade(database)
        database.close()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "jobrunner", "run"]

    def environment(self, servers: Servers, *, node: str, lease: float, workers: int) -> dict[str, str]:
        path = [str(ROOT)] if self._startup is None else [str(self._startup), str(ROOT)]
        return {
            "PYTHONPATH": os.pathsep.join(path),
            "JOBRUNNER_PERSISTENCE__URL": servers.store_url,
            "JOBRUNNER_PERSISTENCE__PATIENCE": str(PATIENCE_S),
            "JOBRUNNER_BOARD__URL": servers.board_url,
            "JOBRUNNER_CONDUCTOR__NAME": node,
            "JOBRUNNER_CONDUCTOR__LEASE": str(lease),
            "JOBRUNNER_CONDUCTOR__PROCESSES": str(workers),
            "JOBRUNNER_CONDUCTOR__JOBS": str(self._slots),
            "JOBRUNNER_CONDUCTOR__GRACE": "5",
            "JOBRUNNER_CONDUCTOR__LABELS": LABEL,
            "JOBRUNNER_FLOWS": str(FLOWS),
        }

    def ready(self, log: str) -> int:
        return log.count("takes jobs")

    def client(self, servers: Servers) -> Client:
        return JobrunnerClient(servers)


class JobrunnerClient:
    """Posts and looks by the use cases, as the command line does."""

    def __init__(self, servers: Servers) -> None:
        environment = {
            "JOBRUNNER_PERSISTENCE__URL": servers.store_url,
            "JOBRUNNER_BOARD__URL": servers.board_url,
        }
        self._config = load_config(environ=environment, flags={"flows.paths": [FLOWS]}).config
        self._made: JobContext | None = None

    @property
    def _context(self) -> JobContext:
        if self._made is None:
            self._made = make_context(self._config)
        return self._made

    def post(self, type_: str, parameters: Mapping[str, Any], key: str | None) -> str:
        posting = Posting(type=type_, parameters=parameters, idempotency_key=key)
        try:
            return post.post(self._context, posting).job_id
        except StoreUnavailable as error:
            raise Unavailable(error.message) from error

    def post_kind(self, kind: Kind, key: str | None) -> Made:
        members = kind.members or (kind,)
        postings = [_posting(one, key, place) for place, one in enumerate(members)]
        with self._trouble():
            if not kind.members and not kind.on:
                return Made(jobs=[(post.post(self._context, postings[0]).job_id, kind)])
            if kind.on:
                postings = self._on_nodes(postings[0], kind.on)
                members = tuple(replace(kind, node=posting.node) for posting in postings)
            made = jobsets.post_set(self._context, postings)
            ids = [one.job_id for one in made.posted]
            return Made(jobs=list(zip(ids, members, strict=True)), jobset=made.id)

    def _on_nodes(self, posting: Posting, targets: Sequence[str]) -> list[Posting]:
        try:
            return fan_out.on_nodes(self._context, posting, targets).postings
        except NodeNotFound as error:  # all are away for the moment
            raise Unavailable(error.message) from error

    def operate(self, what: str, job_id: str) -> bool:
        with self._trouble():
            try:
                if what == "delete":
                    return remove.delete(self._context, job_id).existed
                getattr(change, what)(self._context, look.find(self._context, job_id))
            except (WrongState, JobNotFound, CorruptRow):
                return False
        return True

    def signal(self, job_id: str, name: str, token: str) -> bool:
        with self._trouble():
            try:
                signals.signal(self._context, look.find(self._context, job_id), name, token, key=token)
            except (WrongState, JobNotFound, CorruptRow):
                return False
        return True

    def look_at_set(self, jobset_id: str) -> tuple[str, dict[str, int]]:
        with self._trouble():
            found = jobsets.find(self._context, jobset_id)
        return found.state.value, {state.value: number for state, number in found.counts.items()}

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            raise Unavailable(error.message) from error

    def look(self, job_id: str) -> Seen:
        try:
            return self._seen(look.find(self._context, job_id))
        except StoreUnavailable as error:
            raise Unavailable(error.message) from error
        except (CorruptRow, JobNotFound) as error:
            return _wrong(error)

    def wait(self, job_id: str, seconds: float) -> Seen | None:
        try:
            return self._seen(look.wait(self._context, [job_id], timeout=seconds)[0])
        except WaitTimedOut:
            return None
        except StoreUnavailable as error:
            raise Unavailable(error.message) from error
        except (CorruptRow, JobNotFound) as error:
            return _wrong(error)

    def _seen(self, job: Job) -> Seen:
        words = job.error.message if job.error is not None else job.note or ""
        return Seen(state=job.state.value, terminal=job.state.is_terminal, words=words)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


def _posting(kind: Kind, key: str | None, place: int) -> Posting:
    return Posting(
        type=kind.type,
        parameters=kind.parameters,
        policies=kind.policies,
        after=kind.after,
        node=kind.node,
        expires_ms=times.now_ms() + round(kind.expires * 1000) if kind.expires else None,
        idempotency_key=None if key is None else f"{key}-{place}",
    )


def _wrong(error: JobrunnerError) -> Seen:
    return Seen(state=type(error).__name__, terminal=False, words=error.message, hint=error.hint or "")


def find_system(name: str, *, startup: Path | None) -> System:
    """``jobrunner``, or ``module:Class`` of another."""
    if name == "jobrunner":
        return Jobrunner(startup=startup)
    module, _, attribute = name.partition(":")
    made: System = getattr(importlib.import_module(module), attribute)()
    return made
