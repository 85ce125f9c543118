"""The invariants about time and use: takeovers (I8), and what processes hold on to (I10)."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass

from tests.chaos.case import Case, Use
from tests.chaos.checker import Tally
from tests.chaos.history import Change
from tests.chaos.machines import Death
from tests.chaos.records import Records

ALLOWED_S = 2.0
"""Beyond the lease."""
SUSPECT_DEATHS = 2
"""Jobs with so many deaths get a process of their own first: their claim alone is measured."""
ENOUGH = 8
"""So many takeovers from killed workers tell whether their jobs were handed back, or whether their leases ran out."""
BATCH_US = 100_000
"""Jobs that are begun together are recorded within this time."""
SPARE_DESCRIPTORS = 24
SPARE_THREADS = 24
SPARE_MEMORY_KB = 96 * 1024
"""Pools keep what they opened, and the allocator some of what it got: so much above the start is no leak."""


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """A job whose owner died, and how long it took until the next one did something of it."""

    job: str
    seconds: float
    at_us: int
    claim: Change | None = None
    """What took it over."""

    @property
    def until_us(self) -> int:
        return self.at_us + int(self.seconds * 1e6)


def takes_over_in_time(records: Records, tally: Tally) -> None:
    """I8: from an owner's death to the next epoch's first evidence, or its end if nothing was left to do.

    Not measured are takeovers that overlap with a time in which a server was down, hung, cut off from anybody, or had
    lost its data, until the lease and SLACK_S after that; those in which each other machine was away for a while, so
    that nobody may have been there to take over; those in which all workers were being started anew, since jobs that
    kill their workers run beside the others; and those whose next owner died as well before it came to anything, for
    which its own death is measured. Jobs that wait for one node wait until that is back.
    """
    limit = records.case.lease + ALLOWED_S
    claims = Claims(records)
    found: list[Takeover] = []
    of_workers: list[float] = []
    left_out, alone = 0, 0
    for death in records.case.deaths:
        for takeover in _takeovers(records, death):
            if _is_disturbed(records.case, takeover):
                left_out += 1
            elif _nobody_was_there(records.case, death, takeover) or claims.none_could(takeover):
                alone += 1
            else:
                found.append(takeover)
                of_workers += [takeover.seconds] if death.slot is not None else []
    tally.checks = len(found)
    if not found:
        tally.note = (
            f"none to measure; left out: {left_out} while a server was away, {alone} while nobody was there"
        )
        return
    found.sort(key=lambda takeover: takeover.seconds)
    p50, p99 = found[len(found) // 2].seconds, found[_place_of_p99(len(found))].seconds
    tally.note = (
        f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {found[-1].seconds:.2f} s; "
        f"left out: {left_out} while a server was away, {alone} while nobody was there"
    )
    if p99 > limit:
        slow = [takeover for takeover in found if takeover.seconds > limit]
        tally.violations = len(slow)
        tally.examples = [
            f"job {takeover.job} was taken over after {takeover.seconds:.2f} s" for takeover in slow[-5:]
        ]
    are_handed_back(of_workers, records.case.lease, tally)


def are_handed_back(of_workers: list[float], lease: float, tally: Tally) -> None:
    """What a killed worker held is handed back by its supervisor at once.

    Leases are kept several times before they run out, so without that nothing would go on within half of one; on a
    machine with too much to do some may take longer even so, but not nearly all.
    """
    if len(of_workers) >= ENOUGH:
        quick = sorted(of_workers)[len(of_workers) // 4]
        words = (
            f"three in four of {len(of_workers)} jobs of killed workers went on after {quick:.2f} s or more"
        )
        tally.check(quick <= lease / 2, f"{words}: nobody handed them back")


def is_measured(case: Case, death: Death, takeover: Takeover) -> bool:
    """Whether nothing else held this takeover up."""
    return not _is_disturbed(case, takeover) and not _nobody_was_there(case, death, takeover)


def _is_disturbed(case: Case, takeover: Takeover) -> bool:
    return any(
        window.begin_us < takeover.until_us and window.end_us > takeover.at_us for window in case.windows
    )


def _nobody_was_there(case: Case, death: Death, takeover: Takeover) -> bool:
    """Whether no machine but the dead one was up all the time; never, where it is not known which there are."""
    others = {name for name in case.machines if not death.owner.startswith(f"{name}:")}
    away = {
        absence.machine
        for absence in case.absences
        if absence.begin_us < takeover.until_us and absence.end_us > takeover.at_us
    }
    return bool(others) and others <= away


def _place_of_p99(count: int) -> int:
    return min(count - 1, -(-count * 99 // 100) - 1)


def _takeovers(records: Records, death: Death) -> list[Takeover]:
    found = []
    for job, changes in records.jobs.items():
        place = bisect.bisect_right([change.at_us for change in changes], death.at_us) - 1
        if place < 0 or place + 1 >= len(changes):
            continue
        last, after = changes[place], changes[place + 1 :]
        if last.state != "RUNNING" or last.owner is None or not death.killed(last.owner):
            continue
        if last.pin is not None:
            continue  # it waits for its node, however long that is away
        if records.superseded(last.owner, death.at_us):
            continue  # it had died before, of something else
        claim = next((change for change in after if (change.epoch or 0) > (last.epoch or 0)), None)
        if claim is None or claim.state != "RUNNING":  # it ended, or was parked
            continue
        at_us = _first_sign(records, job, claim, after)
        if at_us is not None:
            seconds = (at_us - death.at_us) / 1e6
            found.append(Takeover(job=job, seconds=seconds, at_us=death.at_us, claim=claim))
    return found


class Claims:
    """Who claimed anything, and when: by every change that raised a job's epoch."""

    def __init__(self, records: Records) -> None:
        self._lease_us = int(records.case.lease * 1e6)
        self._all: list[tuple[int, str]] = []
        for changes in records.jobs.values():
            for before, change in itertools.pairwise(changes):
                if change.owner is not None and (change.epoch or 0) > (before.epoch or 0):
                    self._all.append((change.at_us, change.owner))
        self._all.sort()
        self._first: dict[str, int] = {}
        for at_us, owner in self._all:
            self._first.setdefault(owner, at_us)

    def none_could(self, takeover: Takeover) -> bool:
        """Whether no worker was up when the lease had run out.

        Who took over was started in the place of another, and had not claimed anything before; nor had anybody else,
        from the lease's end on.
        """
        claim = takeover.claim
        if claim is None or claim.owner is None or not self._was_just_started(claim.owner, claim.at_us):
            return False
        due_us = takeover.at_us + self._lease_us
        return not any(due_us < at_us < claim.at_us - BATCH_US for at_us, _ in self._all)

    def _was_just_started(self, worker: str, at_us: int) -> bool:
        place, _, _ = worker.rpartition(".")  # NODE:PID:RANDOM/PLACE.RANDOM
        former = [owner for owner in self._first if owner != worker and owner.startswith(f"{place}.")]
        return self._first[worker] + BATCH_US >= at_us and any(self._first[owner] < at_us for owner in former)


def _first_sign(records: Records, job: str, claim: Change, after: list[Change]) -> int | None:
    """When the claim's epoch did something; None if its owner died before that."""
    if (claim.deaths or 0) >= SUSPECT_DEATHS:
        return claim.at_us
    signs = [line.wall_us for line in records.lines.get(job, ()) if line.epoch == claim.epoch]
    signs += [change.at_us for change in after if change.epoch == claim.epoch and change.seq > claim.seq]
    if not signs:
        return None
    sign = min(signs)
    died = any(
        claim.at_us <= other.at_us <= sign and claim.owner is not None and other.killed(claim.owner)
        for other in records.case.deaths
    )
    return None if died else sign


def returns_to_rest(records: Records, tally: Tally) -> None:
    """I10: each process that is there in the end, against the most that one of its role used at the start."""
    for role, who, use in records.case.behind:
        before = records.case.before.get(role)
        if before is None:
            continue
        for what, now, then, spare in _compared(use, before):
            tally.check(now <= then + spare, f"{who} ({role}) uses {now} {what}, {then} at the start")


def _compared(use: Use, before: Use) -> list[tuple[str, int, int, int]]:
    return [
        ("descriptors", use.descriptors, before.descriptors, SPARE_DESCRIPTORS),
        ("threads", use.threads, before.threads, SPARE_THREADS),
        ("kB of memory", use.memory_kb, before.memory_kb, SPARE_MEMORY_KB),
    ]
