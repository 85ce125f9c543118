"""The invariants of a job's whole life: attempts, links, waits, holds, permits and jobsets.

What a user asked for and nobody answered may come about at any time after: where that could be what is seen, nothing
is checked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.chaos.case import END, START, Line, Operation
from tests.chaos.checker import CLOCK_US, MAX_DEATHS, Tally
from tests.chaos.history import Change
from tests.chaos.records import TERMINAL, Records

SKIPPED = "It was skipped"
BAD = frozenset({"FAILED", "REVERTED", "TIMED_OUT", "DEAD", "EXPIRED"})
EARLY_US = 5_000
LETS_GO_ON = frozenset({"resume", "cancel", "retry"})
GOING_ON = ("RUNNING", "WAITING", "SUSPENDED", "SCHEDULED", "BLOCKED")


# -- I11


def attempts_fit(records: Records, tally: Tally) -> None:
    """I11: attempts are numbered without gaps; as many as the policy says, and people asked for."""
    kept: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for job, attempt, state in records.case.kept.attempts:
        kept[job].append((attempt, state))
    for job, posted in records.case.posted.items():
        changes = records.jobs.get(job, [])
        if not changes:
            continue
        allowed = posted.kind.policies.retrying.attempts
        asked = sum(one.what == "retry" for one in records.operations_on(job))
        by_hand = 0
        for before, now in pairwise(changes):
            if before.attempt == now.attempt:
                continue
            what = f"job {job}: attempt {now.attempt} came after attempt {before.attempt}, {before.state}"
            tally.check(now.attempt == (before.attempt or 0) + 1, what)
            by_hand += before.state in TERMINAL
            by_policy = before.state == "RUNNING" and (now.attempt or 0) <= allowed
            tally.check(before.state in TERMINAL or by_policy, f"{what}, and {allowed} are allowed")
        tally.check(by_hand <= asked, f"job {job} was retried {by_hand} times, and asked to be {asked} times")
        _none_is_missing(records, job, allowed, tally)
        if job not in records.removed:
            numbers = sorted(number for number, _ in kept[job])
            wanted = list(range(1, changes[-1].attempt or 1))
            tally.check(numbers == wanted, f"job {job}: of its attempts {numbers} are kept, not {wanted}")
            ends = {state for _, state in kept[job]}
            tally.check(ends <= TERMINAL - {"SUCCEEDED"}, f"job {job}: attempts before the last are {ends}")


def _none_is_missing(records: Records, job: str, allowed: int, tally: Tally) -> None:
    """A job that ended badly had all its attempts, but for one that was cancelled, or set aside."""
    last = records.jobs[job][-1]
    free = any(one.what == "cancel" for one in records.operations_on(job))
    if last.state in ("REVERTED", "FAILED") and not free and (last.deaths or 0) < MAX_DEATHS:
        what = f"job {job} is {last.state} after attempt {last.attempt} of {allowed}"
        tally.check((last.attempt or 0) >= allowed, what)


# -- I12


def followers_fit(records: Records, tally: Tally) -> None:
    """I12: a job that comes after others is decided once, by how those ended, and starts after that."""
    decisions: dict[str, list[int]] = defaultdict(list)
    for job, at_ms in records.case.kept.decisions:
        decisions[job].append(at_ms)
    for job, posted in records.case.posted.items():
        changes = records.jobs.get(job, [])
        if not posted.after or not changes:
            continue
        # With a job that is removed the links to it go: who retries the other then means it to run.
        retried = records.is_touched(job, "retry")
        unlinked = {other for other, _ in posted.after if other in records.removed and retried}
        firsts = [line for line in records.lines.get(job, ()) if line.what == START][:1]
        for line in firsts:
            for other, when in posted.after:
                if other in unlinked:
                    continue
                met = _is_met(records, other, when, line.wall_us)
                tally.check(met, f"job {job} started before {other} had ended as it should ({when})")
        if job in records.removed:
            continue
        skipped = records.end_of(job) == "CANCELLED" and SKIPPED in records.case.seen.get(job, ("", ""))[1]
        times = len(decisions[job]) + skipped
        again = sum(one.what == "retry" for one in records.operations_on(job))
        tally.check(times <= 1 + again, f"job {job} was decided {times} times, and retried {again} times")
        let_go = bool(decisions[job]) or bool(unlinked)
        tally.check(let_go or not firsts, f"job {job} started, and nobody let it go on")
        if skipped:
            at_us = changes[-1].at_us
            wrong = any(_is_missed(records, other, when, at_us) for other, when in posted.after)
            tally.check(wrong, f"job {job} was skipped, and all that comes before it ended as it should")


def _is_met(records: Records, other: str, when: str, at_us: int) -> bool:
    return any(_lets_go(state, when) for state in _ends_by(records, other, at_us))


def _is_missed(records: Records, other: str, when: str, at_us: int) -> bool:
    ends = list(_ends_by(records, other, at_us))
    return other in records.removed or any(not _lets_go(state, when) for state in ends)


def _ends_by(records: Records, job: str, at_us: int) -> Iterator[str]:
    for change in records.jobs.get(job, ()):
        if change.state in TERMINAL and change.at_us <= at_us + CLOCK_US:
            yield change.state


def _lets_go(state: str, when: str) -> bool:
    if when == "always":
        return True
    return state == "SUCCEEDED" if when == "success" else state in BAD


# -- I13


def waits_fit(records: Records, tally: Tally) -> None:
    """I13: a signal that was acknowledged is there once, and one atom takes it; no timer is early."""
    rows: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for job, token, taken in records.case.kept.signals:
        rows[job].append((token, taken))
    sent: dict[str, set[str]] = defaultdict(set)
    for one in records.case.sent:
        sent[one.job].add(one.token)
    for job, posted in records.case.posted.items():
        if job in records.removed or job in records.case.harms:
            continue
        if posted.kind.signals:
            _signals_fit(records, job, rows[job], sent[job], tally)
        if posted.kind.waits:
            _timers_fit(job, posted.kind.waits, records.lines.get(job, []), tally)


def _signals_fit(
    records: Records, job: str, rows: list[tuple[str, bool]], sent: set[str], tally: Tally
) -> None:
    there = Counter(token for token, _ in rows)
    for token in sent:
        tally.check(there[token] == 1, f"job {job}: the signal {token!r} is there {there[token]} times")
    took: dict[tuple[int, str], set[str]] = defaultdict(set)
    for line in records.lines.get(job, ()):
        if line.what == END and line.took is not None:
            took[line.attempt, line.atom].add(line.took)
    takers = Counter(token for tokens in took.values() for token in tokens)
    for (_, atom), tokens in took.items():
        tally.check(len(tokens) == 1, f"job {job}: {atom} took {sorted(tokens)}, one after the other")
    for token, times in takers.items():
        tally.check(times == 1, f"job {job}: {times} atoms took the signal {token!r}")
    taken = [token for token, was_taken in rows if was_taken]
    tally.check(set(taken) <= set(takers), f"job {job}: nobody told of taking one of {taken}")
    if records.end_of(job) == "SUCCEEDED":
        order = [token for token, _ in rows][: len(taken)]
        tally.check(taken == order, f"job {job}: of its signals {taken} were taken, before {order}")
        tally.check(set(taken) == set(takers), f"job {job}: {sorted(takers)} were taken, recorded: {taken}")


def _timers_fit(job: str, seconds: float, lines: list[Line], tally: Tally) -> None:
    for attempt in {line.attempt for line in lines}:
        naps = [line for line in lines if line.atom == "nap" and line.attempt == attempt]
        began = [line.wall_us for line in naps if line.what == START]
        for line in naps:
            if line.what == END:
                slept = line.wall_us - min(began)
                what = f"job {job}: it waited {slept / 1e6:.3f} s for a time that comes after {seconds:g} s"
                tally.check(slept + EARLY_US >= seconds * 1e6, what)


# -- I14


def holds_fit(records: Records, tally: Tally) -> None:
    """I14: what is suspended is not begun, and starts nothing, until somebody resumes it."""
    for job, changes in records.jobs.items():
        claims = [
            now
            for before, now in pairwise(changes)
            if now.state == "RUNNING" and (now.epoch or 0) > (before.epoch or 0)
        ]
        for since_us, until_us in _held(records.operations_on(job)):
            begun = [claim for claim in claims if since_us + CLOCK_US < claim.at_us < until_us]
            what = f"job {job} was suspended, and began again in epoch"
            tally.check(not begun, f"{what} {begun[0].epoch if begun else None}")
        for parked, left_us in _parked(changes):
            late = [
                line
                for line in records.lines.get(job, ())
                if line.what == START
                and parked.at_us + CLOCK_US < line.wall_us < left_us - CLOCK_US
                and (line.epoch or 0) >= (parked.epoch or 0)
            ]
            words = f"job {job} was parked, and {late[0].atom if late else None} started (line {parked.seq})"
            tally.check(not late, words)


def _held(operations: Iterable[Operation]) -> Iterator[tuple[int, int]]:
    """The times from an answer to a wish to suspend until somebody might have let the job go on."""
    found = sorted(operations, key=lambda one: one.began_us)
    for place, one in enumerate(found):
        if one.what != "suspend" or not one.done:
            continue
        if any(other.done is None and other.what in LETS_GO_ON for other in found[:place]):
            continue
        later = [other.began_us for other in found[place:] if other.what in LETS_GO_ON]
        yield one.at_us, min(later, default=2**62)


def _parked(changes: list[Change]) -> Iterator[tuple[Change, int]]:
    """Each change by which the job was parked for a person, and when it was not any more."""
    for before, now in pairwise(changes):
        if before.parked == "held":
            yield before, now.at_us
    if changes and changes[-1].parked == "held":
        yield changes[-1], 2**62


# -- I15


def permits_fit(records: Records, tally: Tally) -> None:
    """I15: of the jobs that hold a semaphore never more run than it has units; and none is held in the end.

    A permit is granted after, and ends before, what the history tells of it; so two that meet there did meet.
    """
    counts: dict[str, int] = {}
    steps: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for job, posted in records.case.posted.items():
        for hold in posted.kind.policies.holds:
            counts[hold.name] = hold.count
            steps[hold.name] += _runs(records.jobs.get(job, []))
    for name, found in steps.items():
        running = 0
        for _, step, job in sorted(found):
            running += step
            if step > 0:
                tally.check(running <= counts[name], f"job {job}: {running} hold {name!r}, of {counts[name]}")
    left = [(job, name) for job, name in records.case.kept.permits if job in records.case.posted]
    tally.check(not left, f"permits are left: {left[:3]}")


def _runs(changes: list[Change]) -> Iterator[tuple[int, int, str]]:
    """When a job began to run, and when it did not any more; whoever runs it."""
    runs = False
    for change in changes:
        if (change.state == "RUNNING") is not runs:
            runs = not runs
            yield change.at_us, 1 if runs else -1, change.row


# -- I16


def jobsets_fit(records: Records, tally: Tally) -> None:
    """I16: a jobset has all its members, and users are told of it what those are."""
    members: dict[str, dict[str, tuple[str, bool]]] = defaultdict(dict)
    for jobset, job, state, skipped in records.case.kept.members:
        members[jobset][job] = state, skipped
    for posted in records.case.posted.values():
        if posted.jobset is not None and posted.job not in records.removed:
            there = posted.job in members[posted.jobset]
            tally.check(there, f"job {posted.job} is not in its jobset {posted.jobset}")
    for jobset, (state, counts) in records.case.kept.jobsets.items():
        found = list(members[jobset].values())
        wanted = Counter(each for each, _ in found)
        tally.check(dict(wanted) == counts, f"jobset {jobset} has {dict(wanted)}, and tells {counts}")
        tally.check(state == _state_of(found), f"jobset {jobset} is {state}, with {dict(wanted)}")


def _state_of(members: list[tuple[str, bool]]) -> str:
    states = [state for state, _ in members]
    for state in GOING_ON:
        if state in states:
            return state
    if BAD & set(states):
        return "FAILED"
    if any(state == "CANCELLED" and not skipped for state, skipped in members):
        return "CANCELLED"
    return "SUCCEEDED" if "SUCCEEDED" in states else "CANCELLED"
