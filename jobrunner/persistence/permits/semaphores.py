"""A semaphore as it stands: what is held of it, who waits for it, and whether one more may have it. No I/O.

Rules:

- Units that a job holds for itself add up; all that share hold as many together as the one of them that asks for most.
  So one unit shared by many, or held by one alone, is a lock for readers and writers.
- Who asks for more units than there are gets all of them.
- Nobody overtakes: what those before a job in line ask for counts as held, whether or not they can have it yet. So who
  needs much is not starved by those who need little, and one that needs all not by those that share.
- What a jobset holds as a whole is held once, and all its jobs may have it: none of them is in the way of another.
- Of the starts within any period there are as many as were said, at most.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobrunner.policies import Hold


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a semaphore is like; ``starts`` 0 is any number."""

    count: int
    starts: int = 0
    period_ms: int = 0

    @classmethod
    def of_hold(cls, hold: Hold) -> Terms:
        return cls(count=hold.count, starts=hold.starts, period_ms=round(hold.period * 1000))


@dataclass(frozen=True, slots=True, order=True)
class Wish:
    """A job that asks for a semaphore; those with lower scores go first."""

    score: int
    job_id: str
    units: int = field(compare=False)
    shared: bool = field(compare=False)
    set_id: str | None = field(default=None, compare=False)
    """The jobset that is to hold it, instead of the job."""

    @property
    def holder(self) -> str:
        return self.set_id or self.job_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A job has to wait: until ``at_ms``, or, if that is None, until somebody leaves."""

    semaphore: str
    at_ms: int | None = None


@dataclass(kw_only=True, slots=True)
class Semaphore:
    """One semaphore, for as long as its row is locked, or for a look.

    :param count: as somebody has set it, like ``starts`` and ``period_ms``; None for what the jobs say
    :param started: when jobs started, oldest first; as many as a rate asks for
    :param line: those that wait, first in line first
    """

    name: str
    count: int | None = None
    starts: int | None = None
    period_ms: int | None = None
    started: list[int] = field(default_factory=list)
    alone: int = 0
    """Units that jobs hold for themselves."""
    together: int = 0
    """Units of those that share."""
    line: list[Wish] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)
    """Who has it: jobs, and jobsets."""
    sets: set[str] = field(default_factory=set)
    """The jobsets among them."""

    def terms(self, said: Terms) -> Terms:
        """What holds: as it was set, and for the rest as a job says."""
        given = self.starts is not None
        return Terms(
            count=said.count if self.count is None else self.count,
            starts=self.starts or 0 if given else said.starts,
            period_ms=self.period_ms or 0 if given else said.period_ms,
        )

    def refusal(self, wish: Wish, said: Terms, now_ms: int) -> Refusal | None:
        """Why a job has to wait; None if it need not."""
        if wish.holder in self.holders:
            return None
        terms = self.terms(said)
        ahead = self._ahead(wish)
        if not self._has_room(wish, ahead, terms):
            return Refusal(semaphore=self.name)
        at_ms = self._start_of(len(ahead), terms, now_ms)
        return None if at_ms <= now_ms else Refusal(semaphore=self.name, at_ms=at_ms)

    def take(self, holder: str, units: int, shared: bool) -> None:
        """Somebody holds it."""
        self.holders.add(holder)
        if shared:
            self.together = max(self.together, units)
        else:
            self.alone += units

    def grant(self, wish: Wish, said: Terms, now_ms: int) -> None:
        """A job that was not refused has it, and starts."""
        self.line = [other for other in self.line if other.job_id != wish.job_id]
        if wish.holder in self.holders:
            return
        terms = self.terms(said)
        self.take(wish.holder, min(wish.units, max(terms.count, 1)), wish.shared)
        if terms.starts:
            self.started = [*self.started, now_ms][-terms.starts :]

    def queue(self, wish: Wish) -> None:
        """A job that was refused stands in line."""
        if all(other.job_id != wish.job_id for other in self.line):
            insort(self.line, wish)

    def _ahead(self, wish: Wish) -> list[Wish]:
        """Those who are to have it before this one does: one for each that waits for it as a whole."""
        passed = {wish.holder, *self.holders}
        before = [other for other in self.line if other < wish and other.holder not in passed]
        return list({other.holder: other for other in reversed(before)}.values())[::-1]

    def _has_room(self, wish: Wish, ahead: Sequence[Wish], terms: Terms) -> bool:
        alone, together = self.alone, self.together
        for other in (*ahead, wish):
            units = min(other.units, terms.count)
            if other.shared:
                together = max(together, units)
            else:
                alone += units
        return terms.count > 0 and alone + together <= terms.count

    def _start_of(self, place: int, terms: Terms, now_ms: int) -> int:
        """When the job at this place in line may start: as if each before it started as soon as it may."""
        if not terms.starts:
            return now_ms
        times = self.started[-terms.starts :]
        for _ in range(place + 1):
            full = len(times) >= terms.starts
            times.append(max(now_ms, times[-terms.starts] + terms.period_ms) if full else now_ms)
        return times[-1]
