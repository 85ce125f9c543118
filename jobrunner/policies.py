"""How a job is to be treated, beside its parameters: when it is retried, what it needs to itself, where, within what.

A posting's policies are its type's with the posting's own in their place; they are kept with the job as one JSON
object, so that a conductor of another machine, or of another version, treats the job as it was posted. What a policy
leaves out is as it is for every job. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from jobrunner.names import is_name
from jobrunner.states import JobState
from jobrunner.times import LONGEST_S

Json = Any
P = TypeVar("P", bound="Policy")

BAD_ENDS = (JobState.FAILED, JobState.REVERTED, JobState.TIMED_OUT, JobState.DEAD)
"""The ends after which a job may be retried by itself."""
MOST_ATTEMPTS = 1000
LONGEST_PAUSE_S = 366 * 86_400.0
CRITICAL_ATTEMPTS = 4
"""A critical job is retried up to three times whatever its type says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy as JSON, and back: what differs from the defaults."""

    def to_json(self) -> dict[str, Json]:
        said = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {name: _plain(value) for name, (value, default) in said.items() if value != default}

    @classmethod
    def from_json(cls: type[P], data: Json) -> P:
        """Read back what ``to_json`` wrote; raises ValueError. What a newer version added is left out."""
        if not isinstance(data, Mapping):
            raise ValueError(f"an object was expected, not {data!r}")
        known = {field.name for field in dataclasses.fields(cls)}
        try:
            return cls(**{name: value for name, value in data.items() if name in known})
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy(Policy):
    """How often a job is run again from its start, and how long after it ended badly.

    The n-th pause is ``delay * factor ** (n - 1)``, at most ``max_delay``, more or less by up to ``jitter`` of itself.
    Raises ValueError, in words for people, if that makes no sense.
    """

    attempts: int = 1
    """In all; 1 is no retry."""
    on: tuple[JobState, ...] = BAD_ENDS
    delay: float = 10.0
    factor: float = 2.0
    """1 makes all pauses alike."""
    max_delay: float = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", _ends(self.on))
        _require(_is_number(self.attempts, 1, MOST_ATTEMPTS) and isinstance(self.attempts, int),
                 "attempts", self.attempts, f"a whole number from 1 to {MOST_ATTEMPTS:,}")  # fmt: skip
        for name in ("delay", "max_delay"):
            value = getattr(self, name)
            _require(_is_number(value, 0, LONGEST_PAUSE_S), name, value, "seconds, a year of them at most")
        _require(_is_number(self.factor, 1, 1000), "factor", self.factor, "a number from 1 to 1,000")
        _require(_is_number(self.jitter, 0, 1), "jitter", self.jitter, "a number from 0 to 1")

    def allows_after(self, state: JobState, attempt: int) -> bool:
        """Whether an attempt that ended so is followed by another."""
        return attempt < self.attempts and state in self.on

    def pause(self, attempt: int, *, chance: float | None = None) -> float:
        """Seconds between the end of this attempt, counted from 1, and the start of the next.

        :param chance: -1 to 1, in the place of chance
        """
        grown = self.factor ** min(attempt - 1, 64) * self.delay
        chance = random.uniform(-1, 1) if chance is None else chance  # noqa: S311 (spreads, protects nothing)
        return min(grown, self.max_delay) * (1 + self.jitter * chance)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold(Policy):
    """What a job holds of a semaphore while it runs: units of its own, or those that it shares with others that share.

    ``count``, ``starts`` and ``period`` say what the semaphore is like unless somebody has set a limit of its name.
    """

    name: str
    shared: bool = False
    units: int = 1
    count: int = 1
    """So many units there are; ANY_NUMBER is no limit."""
    starts: int = 0
    """So many jobs may start within ``period`` seconds; 0 is any number."""
    period: float = 0.0
    by_set: bool = False
    """The job's jobset holds it as a whole, from when the first of its jobs begins until the last has ended."""


ANY_NUMBER = 2_147_483_647


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement(Policy):
    """The node that a job prefers: it runs there if that takes jobs, and elsewhere after a time.

    Each attempt prefers it anew. A job that is pinned to a node has none of this.
    """

    prefer: str | None = None
    failover: float = 60.0
    """So long it waits for the preferred node."""

    def __post_init__(self) -> None:
        prefer, seconds = cast("tuple[Any, Any]", (self.prefer, self.failover))  # they may be anybody's JSON
        is_time = isinstance(seconds, (int, float)) and 0 <= seconds <= LONGEST_S
        if not is_time or not (prefer is None or isinstance(prefer, str)):
            raise ValueError(
                f"no placement: prefer {prefer!r} for {seconds!r} seconds, which can be 0 to {LONGEST_S:,}"
            )

    def failover_ms(self, available_ms: int) -> int:
        """When a job that can be had since ``available_ms`` goes to any node."""
        return available_ms + round(self.failover * 1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits(Policy):
    """What a run may use, and as whom it runs; any limit means a process of its own. Raises ValueError if it is none.

    None is left to the job type, and then to the defaults.
    """

    isolation: str | None = None
    """``process``: a process of its own; ``thread``: a thread of a worker."""
    memory: int | None = None
    """Bytes that the job's processes may have in memory, all together."""
    dead_below: float | None = None
    """A job that uses less than so many per cent of a processor (default: DEAD_BELOW) ..."""
    dead_after: float | None = None
    """... for so long looks dead, and is ended; None: never."""
    user: str | None = None
    group: str | None = None
    grace: float | None = None
    """Between the request to end and the end by force; default: GRACE_S."""

    def __post_init__(self) -> None:
        _insist(
            self.isolation in (None, *ISOLATIONS), f"isolation is {self.isolation!r}, and can be {_EITHER}"
        )
        _check_number("memory", self.memory, least=LEAST_MEMORY, unit="bytes")
        _check_number("dead_below", self.dead_below, least=0, unit="per cent of a processor")
        _check_number("dead_after", self.dead_after, least=LEAST_DEAD_AFTER_S, unit="seconds", most=LONGEST_S)
        _check_number("grace", self.grace, least=0, unit="seconds", most=LONGEST_S)
        for name in (self.user, self.group):
            _insist(
                name is None or _ACCOUNT.fullmatch(str(name)) is not None,
                f"{name!r} cannot be the name of a user or a group",
            )
        _insist(self.group is None or self.user is not None, "a group without a user cannot be run as")
        _insist(self.isolation != "thread" or not self._limits(), _NOT_IN_A_THREAD)

    @property
    def own_process(self) -> bool:
        """Whether the job runs in a process of its own."""
        return self.isolation == "process" or bool(self._limits())

    @property
    def grace_s(self) -> float:
        return GRACE_S if self.grace is None else self.grace

    @property
    def dead_below_percent(self) -> float:
        return DEAD_BELOW if self.dead_below is None else self.dead_below

    @property
    def account(self) -> str | None:
        """As whom it runs, as people write it: ``user`` or ``user:group``."""
        return self.user if self.group is None else f"{self.user}:{self.group}"

    def over(self, others: RunLimits | None) -> RunLimits:
        """These limits, and where they leave it open those of ``others``; raises ValueError if they do not fit."""
        if others is None:
            return self
        theirs = others.to_json()
        if self.user is not None:
            theirs.pop("group", None)
        return RunLimits.from_json({**theirs, **self.to_json()})

    def _limits(self) -> dict[str, Json]:
        return {name: value for name, value in self.to_json().items() if name != "isolation"}


ISOLATIONS = ("thread", "process")
GRACE_S = 10.0
DEAD_BELOW = 1.0
LEAST_DEAD_AFTER_S = 1
LEAST_MEMORY = 128 * 1024 * 1024
"""A job's process has some 80 MiB in memory before its tasks have any, most of which it shares with others."""
MOST = 2**62
_EITHER = " or ".join(ISOLATIONS)
_NOT_IN_A_THREAD = "limits need a process of its own, so isolation cannot be thread"
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


def _check_number(name: str, value: Any, *, least: int, unit: str, most: int = MOST) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    bound = f"{most:,} at most" if is_number and value > most else f"{least:,} at least"
    _insist(
        value is None or (is_number and least <= value <= most),
        f"{name} is {value!r}, and has to be a number of {unit}, {bound}",
    )


def _insist(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """All of a job's policies; None is what holds for every job."""

    retry: RetryPolicy | None = None
    critical: bool = False
    holds: tuple[Hold, ...] = ()
    placement: Placement | None = None
    run: RunLimits | None = None

    @property
    def retrying(self) -> RetryPolicy:
        """How the job is retried by itself: as it was posted, and a critical one thrice at least, after any bad end."""
        retry = self.retry or NO_RETRY
        if not self.critical:
            return retry
        return dataclasses.replace(retry, attempts=max(retry.attempts, CRITICAL_ATTEMPTS), on=BAD_ENDS)

    def over(self, other: Policies) -> Policies:
        """These policies, and where they say nothing, the other ones: a posting's over those of its type.

        Raises ValueError if they do not fit together.
        """
        return Policies(
            retry=self.retry or other.retry,
            critical=self.critical or other.critical,
            holds=tuple({hold.name: hold for hold in (*other.holds, *self.holds)}.values()),
            placement=self.placement or other.placement,
            run=other.run if self.run is None else self.run.over(other.run),
        )

    def to_json(self) -> dict[str, Json]:
        said: dict[str, Json] = {}
        for name in ("retry", "placement", "run"):
            policy = getattr(self, name)
            if policy is not None:
                said[name] = policy.to_json()
        if self.critical:
            said["critical"] = True
        if self.holds:
            said["holds"] = [hold.to_json() for hold in self.holds]
        return said

    @classmethod
    def from_json(cls, data: Json) -> Policies:
        """Read back what ``to_json`` wrote; raises ValueError."""
        if data is None:
            return NO_POLICIES
        if not isinstance(data, Mapping):
            raise ValueError(f"an object was expected, not {data!r}")
        kinds: dict[str, type[Policy]] = {"retry": RetryPolicy, "placement": Placement, "run": RunLimits}
        given: dict[str, Any] = {
            name: kind.from_json(data[name]) for name, kind in kinds.items() if name in data
        }
        holds = tuple(_hold_from_json(one) for one in data.get("holds", ()))
        return cls(**given, critical=bool(data.get("critical", False)), holds=holds)


def _hold_from_json(data: Json) -> Hold:
    """A hold as it may stand in a job's row: one that semaphores cannot be asked for makes that row unreadable."""
    hold = Hold.from_json(data)
    name: Json = hold.name
    ranges: dict[str, tuple[Json, float, float]] = {
        "units": (hold.units, 1, 1_000_000),
        "count": (hold.count, 0, ANY_NUMBER),
        "starts": (hold.starts, 0, 1000),
        "period": (hold.period, 0, 10**8),
    }
    if not is_name(name, 255):
        raise ValueError(f"{name!r} names no semaphore")
    for what, (number, least, most) in ranges.items():
        whole = isinstance(number, int) or (what == "period" and isinstance(number, float))
        if not whole or not least <= number <= most:
            raise ValueError(f"{number!r} cannot be the {what} of a semaphore")
    return hold


def _plain(value: Any) -> Json:
    return [str(one) for one in value] if isinstance(value, tuple) else value


def _ends(named: Any) -> tuple[JobState, ...]:
    """States that a retry may follow, by value or by name however that is written."""
    given = (named,) if isinstance(named, str) else tuple(named)
    ends = tuple(dict.fromkeys(str(one).strip().upper().replace("-", "_") for one in given))
    known = {state.value: state for state in BAD_ENDS}
    _require(bool(ends) and set(ends) <= set(known), "on", ", ".join(map(str, given)) or "nothing",
             f"one or more of {', '.join(name.lower().replace('_', '-') for name in known)}")  # fmt: skip
    return tuple(known[end] for end in ends)


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _require(fine: bool, name: str, found: Any, expected: str) -> None:
    if not fine:
        raise ValueError(f"{name} is {found!r}, and has to be {expected}")


NO_RETRY = RetryPolicy()
NO_POLICIES = Policies()
