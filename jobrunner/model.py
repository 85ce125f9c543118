"""The words of jobrunner as values: jobs, their states, postings, and what a board holds of them.

Times are whole milliseconds since the epoch, UTC, in fields that end in ``_ms``; durations are seconds.
"""

from __future__ import annotations

import enum
import functools
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.policies import NO_POLICIES, Policies
from jobrunner.states import OPEN_STATES as OPEN_STATES
from jobrunner.states import TERMINAL_STATES as TERMINAL_STATES
from jobrunner.states import UNOWNED_STATES as UNOWNED_STATES
from jobrunner.states import JobState as JobState

Json = Any
"""A value that the json module can write and read back unchanged."""


class Priority(enum.IntEnum):
    """How urgent a job is, by TaskFlow's names; lower numbers go first."""

    VERY_HIGH = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    VERY_LOW = 4


class CancelMode(str, enum.Enum):
    """What happens to the finished atoms of a job that is cancelled while it runs."""

    REVERT = "revert"  # they are undone, last first
    KEEP = "keep"  # they stay as they are

    def __str__(self) -> str:
        return self.value


class Parked(str, enum.Enum):
    """Why an open job does not stand on the board: nobody can claim it until that is over."""

    HELD = "held"  # a person suspended it
    AFTER = "after"  # other jobs come first
    SIGNAL = "signal"  # it waits for a signal, and for no time

    def __str__(self) -> str:
        return self.value


class When(str, enum.Enum):
    """On which end of a job one that comes after it is run."""

    SUCCESS = "success"  # it succeeded
    FAILURE = "failure"  # it ended badly; neither succeeded nor was cancelled
    ALWAYS = "always"  # it ended

    def holds(self, state: JobState) -> bool:
        """Whether a job that ended in this state lets one run that comes after it on this condition."""
        if self is When.SUCCESS:
            return state is JobState.SUCCEEDED
        return self is When.ALWAYS or state not in (JobState.SUCCEEDED, JobState.CANCELLED)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class After:
    """A job comes after another: by that one's id, or by its place among those that are posted together."""

    job: str | int
    when: When = When.SUCCESS


JOB_ID = "job_id"
"""The name under which a flow finds its job's id, beside its parameters: a task that asks for it gets it."""


@functools.lru_cache(maxsize=4096)  # every claim names all classes of its worker
def _key_of(type_: str, node: str | None, capabilities: tuple[str, ...]) -> str:
    return json.dumps([type_, node, list(capabilities)], separators=(",", ":"))


@dataclass(frozen=True, kw_only=True, slots=True)
class JobClass:
    """A job's static needs; jobs with the same needs wait in one line of the board.

    ``capabilities`` are predicates that look at the job itself and are evaluated before a claim; a class that names
    some is never claimed in batches.
    """

    type: str
    node: str | None = None
    capabilities: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The class as text, stable over processes and versions: what boards use as a key."""
        return _key_of(self.type, self.node, self.capabilities)

    @classmethod
    def from_key(cls, key: str) -> JobClass:
        """Read back what ``key`` wrote; raises ValueError if it was not written by it."""
        try:
            type_, node, capabilities = json.loads(key)
        except TypeError as error:
            raise ValueError(f"not a class of jobs: {key!r}") from error
        if not isinstance(type_, str) or not isinstance(capabilities, list):
            raise ValueError(f"not a class of jobs: {key!r}")
        return cls(type=type_, node=node, capabilities=tuple(capabilities))


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """What a person asks for: a registered job type, its parameters, and how to treat the job."""

    type: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    factory: Mapping[str, Json] | None = None
    """Classic postings only: ``name``, ``args`` and ``kwargs`` of a factory in the type's own plugin."""
    capabilities: tuple[str, ...] = ()
    node: str | None = None
    priority: Priority | None = None
    """None: the job type's own, else NORMAL."""
    available_ms: int | None = None
    """Not to be started before: milliseconds since 1970, UTC."""
    idempotency_key: str | None = None
    """The same posting again, under the same key, finds the job of before."""
    properties: Mapping[str, Json] = field(default_factory=dict)
    """What people want to know of the job; short texts, numbers and truths are tags, by which it can be found."""
    timeout: float | None = None
    """Seconds that an attempt may run; None: as the job type says."""
    author: str | None = None
    expires_ms: int | None = None
    """A job that nobody started by then ends as EXPIRED: milliseconds since 1970, UTC."""
    policies: Policies = NO_POLICIES
    failover_ms: int | None = None
    """When a job that only prefers ``node`` goes to any other; None: never. Follows from its policies, as all times in
    milliseconds since 1970; not to be given."""
    unique_key: str | None = None
    """Of open jobs with the same key there is one at most. Follows from the job type; not to be given."""
    jobset_id: str | None = None
    """Given by ``post_set``, and by nobody else."""
    after: tuple[After, ...] = ()
    """The jobs that come first; the job is BLOCKED until they have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job ended badly, in brief: what a person reads first."""

    kind: str
    message: str
    atom: str | None = None
    traceback: str | None = None

    def to_json(self) -> dict[str, Json]:
        return {"kind": self.kind, "message": self.message, "atom": self.atom, "traceback": self.traceback}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> JobError:
        return cls(
            kind=str(data.get("kind", "Error")),
            message=str(data.get("message", "")),
            atom=data.get("atom"),
            traceback=data.get("traceback"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One posting of a job type, as the store has it."""

    seq: int
    id: str
    type: str
    state: JobState
    priority: Priority
    parameters: Mapping[str, Json]
    factory: Mapping[str, Json] | None
    properties: Mapping[str, Json]
    job_class: JobClass
    epoch: int
    attempt: int
    created_ms: int
    updated_ms: int
    available_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    owner: str | None = None
    node: str | None = None
    deaths: int = 0
    cancel: CancelMode | None = None
    result: Json = None
    error: JobError | None = None
    note: str | None = None
    """Why the job is where it is, when that is not plain: for instance that it waits for a node that knows its type."""
    idempotency_key: str | None = None
    timeout: float | None = None
    author: str | None = None
    expires_ms: int | None = None
    policies: Policies = NO_POLICIES
    unique_key: str | None = None
    jobset_id: str | None = None
    parked: Parked | None = None
    """Why it is not on the board although it is open; None for a job that is."""
    parked_before: Parked | None = None
    """The same, from before a person suspended it: what it goes back to."""
    awaits: str | None = None
    """The signal that it waits for."""
    held: bool = False
    """A person asked for it to be suspended until it is resumed."""
    failover_ms: int | None = None
    """When it leaves the node of its class, which it only prefers; None for one that is pinned, or may run anywhere."""
    usage: Mapping[str, Json] | None = None
    """What its run in a process of its own has used: ``cpu`` seconds, ``memory`` and ``peak`` bytes; see usage.py."""
    adopted: bool = False
    """A person allowed its flow, half done, to go on with other code."""
    misfits: int = 0
    """So often in a row whoever claimed it had other code than it began with."""
    from_results: bool = False
    """Some of its parameters were results of other jobs, and nobody has compared them with its type's yet."""

    @property
    def short_id(self) -> str:
        return self.id[:8]

    @property
    def flow_id(self) -> str:
        """The id of the TaskFlow flow detail of the job's present attempt."""
        return flow_id(self.id, self.attempt)

    @property
    def view(self) -> JobView:
        return JobView(
            id=self.id,
            type=self.type,
            parameters=self.parameters,
            properties=self.properties,
            priority=self.priority,
            attempt=self.attempt,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """What a capability's predicate may look at."""

    id: str
    type: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    properties: Mapping[str, Json] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    attempt: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRecord:
    """How an attempt of a job ended that was followed by another."""

    attempt: int
    state: JobState
    node: str | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    result: Json = None
    error: JobError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AtomRecord:
    """One atom of a job's flow as recorded: for ``show``, ``status`` and the demo.

    ``state`` and ``intention`` are TaskFlow's words, but for ``GONE``: the code that the job goes on with has no such
    atom any more. ``starts`` counts how often the atom was started in its attempt.
    """

    name: str
    kind: str
    state: str
    intention: str
    progress: float | None = None
    detail: str | None = None
    owner: str | None = None
    node: str | None = None
    epoch: int | None = None
    starts: int = 0
    started_ms: int | None = None
    finished_ms: int | None = None
    result: Json = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardEntry:
    """What a board holds of a job: enough to order and to offer it, nothing that matters if it is lost."""

    job_id: str
    job_class: JobClass
    priority: Priority = Priority.NORMAL
    posted_ms: int
    available_ms: int = 0
    """Not offered before this time; 0 means at once."""
    in_line_since_ms: int | None = None
    """By which time it stands in line, if that is another than when it was posted or is available."""

    @property
    def score(self) -> int:
        """Its place in line: oldest first, and each level of priority counts as an hour of waiting.

        An urgent job overtakes what was posted within the hours between their levels, and nothing waits for ever.
        """
        waiting_since = self.in_line_since_ms
        if waiting_since is None:
            waiting_since = max(self.posted_ms, self.available_ms)
        return waiting_since + int(self.priority) * PRIORITY_STEP_MS


PRIORITY_STEP_MS = 3_600_000


def new_job_id() -> str:
    """A random id: short prefixes of random ids stay unique, so people can type them."""
    return str(uuid.uuid4())


def flow_id(job_id: str, attempt: int) -> str:
    """The flow detail's id of an attempt: derived, so that it need not be stored before the flow starts."""
    return str(uuid.uuid5(uuid.UUID(job_id), f"attempt-{attempt}"))
