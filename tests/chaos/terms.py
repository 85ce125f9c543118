"""The invariants of what was posted under conditions: in a process of its own, by a time, on a node, one at a time.

What a job may rely on while no server is away and nobody stands still; where one did, that is left out here.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from tests.chaos.case import Beats, Line
from tests.chaos.checker import CLOCK_US, Tally
from tests.chaos.history import Change
from tests.chaos.records import TERMINAL, Records

GONE_WITHIN_US = 5_000_000
"""What a job started has ended so long after the job, however much there is to do on the machine."""
SILENT_US = 25_000_000
"""A node that was away in so many microseconds may still count as gone."""
EARLY_US = 50_000


# -- I17


def commands_are_gone(records: Records, tally: Tally) -> None:
    """I17: what a job started has ended before the job goes on elsewhere, and soon after the job itself."""
    for beats in records.case.beats:
        if beats.job in records.case.harms:
            continue
        what = f"job {beats.job}: what epoch {beats.epoch} had started"
        later = _next_line(records, beats)
        if later is not None and not _was_disturbed(records, beats, later.wall_us):
            late = (beats.last_us - later.wall_us) / 1e6
            words = f"{what} lived for {late:.3f} s after epoch {later.epoch} had begun {later.atom}"
            tally.check(beats.last_us <= later.wall_us + CLOCK_US, words)
        end_us = _end_of(records, beats.job)
        if end_us is not None and not _was_disturbed(records, beats, end_us + GONE_WITHIN_US):
            late = (beats.last_us - end_us) / 1e6
            tally.check(
                beats.last_us <= end_us + GONE_WITHIN_US, f"{what} lived for {late:.3f} s after its end"
            )


def _next_line(records: Records, beats: Beats) -> Line | None:
    lines = records.lines.get(beats.job, ())
    return next((line for line in lines if (line.epoch or 0) > beats.epoch), None)


def _end_of(records: Records, job: str) -> int | None:
    """When the job ended for the last time."""
    changes = records.jobs.get(job, [])
    ends = [
        now.at_us for was, now in pairwise(changes) if was.state not in TERMINAL and now.state in TERMINAL
    ]
    return ends[-1] if ends else None


def _was_disturbed(records: Records, beats: Beats, until_us: int) -> bool:
    """Whether somebody may have taken the job from an owner that lived: it stood still, or a server was away."""
    node = beats.owner.partition(":")[0]
    stood_still = (one for one in records.case.absences if one.machine == node and one.stood_still)
    times = [*stood_still, *records.case.windows]
    return any(one.begin_us < until_us and one.end_us > beats.first_us for one in times)


# -- I18


def expiry_fits(records: Records, tally: Tally) -> None:
    """I18: what expired was never started, nor ended so before its time; and nothing is started after that."""
    for job, (expires_ms, started_ms) in records.case.kept.times.items():
        changes = records.jobs.get(job, [])
        if expires_ms is None or not changes:
            continue
        if changes[-1].attempt == 1:
            in_time = started_ms is None or started_ms < expires_ms
            late = (started_ms or 0) - expires_ms
            tally.check(in_time, f"job {job} was started {late} ms after it had expired")
        for change in _expired(changes):
            what = f"job {job} expired (line {change.seq})"
            in_time = change.at_us + CLOCK_US >= expires_ms * 1000
            tally.check(in_time, f"{what} at {change.at_us / 1000:.0f} ms, before {expires_ms} ms")
            before = [one for one in changes if one.seq < change.seq and one.attempt == change.attempt]
            tally.check(all(one.state != "RUNNING" for one in before), f"{what} after it had been started")
            lines = [line for line in records.lines.get(job, ()) if line.attempt == change.attempt]
            tally.check(not lines, f"{what}, and {lines[0].atom if lines else None} ran all the same")


def _expired(changes: list[Change]) -> list[Change]:
    return [now for was, now in pairwise(changes) if now.state == "EXPIRED" and was.state != "EXPIRED"]


# -- I19


def places_fit(records: Records, tally: Tally) -> None:
    """I19: whoever takes a job that waits for a node is that node; and only one that is preferred is let go."""
    for job, changes in records.jobs.items():
        for was, now in pairwise(changes):
            taken = now.state == "RUNNING" and (now.epoch or 0) > (was.epoch or 0)
            if taken and was.pin is not None:
                words = f"job {job} waited for {was.pin}, and {now.owner} took it (line {now.seq})"
                tally.check(_node_of(now.owner) == was.pin, words)
    for job, posted in records.case.posted.items():
        changes = records.jobs.get(job, [])
        if posted.kind.node is not None and changes:
            _stays(records, job, posted.kind.node, tally)
        placement = posted.kind.policies.placement
        if placement is not None and placement.prefer is not None:
            _is_let_go_in_time(records, job, changes, placement.failover, tally)


def _stays(records: Records, job: str, node: str, tally: Tally) -> None:
    pins = {change.pin for change in records.jobs[job]}
    tally.check(pins == {node}, f"job {job} is pinned to {node}, and was for {pins}")
    for line in records.lines.get(job, ()):
        words = f"job {job} is pinned to {node}, and {line.owner} ran {line.atom}"
        tally.check(_node_of(line.owner) == node, words)


def _is_let_go_in_time(
    records: Records, job: str, changes: list[Change], failover: float, tally: Tally
) -> None:
    """A job leaves the node that it prefers after a time, counted for each attempt; or once the node is away."""
    since: dict[int | None, int] = {}
    for was, now in pairwise(changes):
        if was.pin is None:
            continue
        began_us = since.setdefault(was.attempt, was.at_us)
        if now.pin is None and now.attempt == was.attempt and not _was_away(records, was.pin, now.at_us):
            waited = now.at_us - began_us
            words = f"job {job} left {was.pin} after {waited / 1e6:.3f} s (line {now.seq})"
            tally.check(waited + EARLY_US >= failover * 1e6, words)


def _was_away(records: Records, node: str, at_us: int) -> bool:
    absences = (one for one in records.case.absences if one.machine == node)
    times = [*absences, *records.case.windows]
    return any(one.begin_us < at_us and one.end_us > at_us - SILENT_US for one in times)


def _node_of(owner: str | None) -> str:
    return (owner or "").partition(":")[0]


# -- I20


def one_is_open(records: Records, tally: Tally) -> None:
    """I20: of jobs that are the same to their type one is open at a time.

    Whoever would be the second waits, in SQL, until the first one's end is committed; so its line comes later.
    """
    customers = dict(records.case.kept.customers)
    only = {job: one.kind.only for job, one in records.case.posted.items() if one.kind.only is not None}
    customers.update(only)
    steps: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for job, customer in customers.items():
        steps[customer] += _openings(records.jobs.get(job, []))
    for customer, found in steps.items():
        is_open: list[str] = []
        for _, step, job in sorted(found):
            if step < 0:
                is_open.remove(job)
                continue
            tally.check(not is_open, f"job {job} was opened beside {is_open}, all for customer {customer}")
            is_open.append(job)


def _openings(changes: list[Change]) -> list[tuple[int, int, str]]:
    """When a job began to be open, and when it did not any more; ends before beginnings."""
    found: list[tuple[int, int, str]] = []
    is_open = False
    for change in changes:
        if (change.state not in TERMINAL) is not is_open:
            is_open = not is_open
            found.append((change.at_us, 1 if is_open else -1, change.row))
    return found
