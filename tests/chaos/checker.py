"""What must hold after every fault: each invariant a function over what a run left, with its count of checks.

A check that finds something wrong says it in words, with ids to look for in the evidence and the history. Each
count says how often it was looked: what was never looked at did not hold, it was not met.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.case import END, REVERT, START, Case, Line
from tests.chaos.history import Change
from tests.chaos.records import TASK, TERMINAL, Records

EXAMPLES = 5
CLOCK_US = 2000
"""SQL's clock and a task's are the same; their readings may cross by so much."""
UNDONE = frozenset({"REVERTED", "TIMED_OUT", "CANCELLED"})
"""Whoever cancels a job here asks for what was done to be undone."""
OWNERS_DIED = "died"
MAX_DEATHS = 5


@dataclass(kw_only=True)
class Tally:
    """How one invariant fared."""

    name: str
    says: str
    checks: int = 0
    violations: int = 0
    examples: list[str] = field(default_factory=list)
    note: str = ""

    def check(self, holds: bool, words: str) -> None:
        """Count one check, and what it found."""
        self.checks += 1
        if not holds:
            self.violations += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(words)


def check_all(case: Case) -> list[Tally]:
    """Every invariant in turn."""
    from tests.chaos import lives, owners, terms
    from tests.chaos.outcomes import conductors_stay, harm_stays, outcomes_fit
    from tests.chaos.speed import returns_to_rest, takes_over_in_time

    records = Records(case)
    checks: list[tuple[str, str, Callable[[Records, Tally], None]]] = [
        ("I1", "every acknowledged post is in SQL, and has ended", posts_are_kept),
        ("I2", "one SUCCESS per atom and attempt, whose result stays", one_success),
        ("I3", "no atom starts before its start and what it needs are committed", barriers_hold),
        ("I4", "a job's epochs never fall, and no former owner records", epochs_hold),
        ("I5", "one end of each attempt, and nothing after it", one_end),
        ("I6", "effects of an atom <= epochs that started it <= 1 + takeovers", effects_are_bounded),
        ("I7", "what was undone is undone, and what was done is done", reverts_fit),
        ("I8", "takeover within the lease + 2 s (p99)", takes_over_in_time),
        ("I9", "nothing is reported as ended before SQL says so", reports_are_true),
        ("I10", "descriptors, threads, memory return to where they were", returns_to_rest),
        ("I11", "attempts without gaps, as many as the policy says", lives.attempts_fit),
        ("I12", "followers are decided once, by the ends of those before", lives.followers_fit),
        ("I13", "a signal is there once, and taken once; no timer is early", lives.waits_fit),
        ("I14", "what is suspended starts nothing until it is resumed", lives.holds_fit),
        ("I15", "no more permits than units, and none is left", lives.permits_fit),
        ("I16", "a jobset is as its members are", lives.jobsets_fit),
        ("I17", "what a job started has ended before the job goes on elsewhere", terms.commands_are_gone),
        ("I18", "what expired was never started, and nothing is after its time", terms.expiry_fits),
        ("I19", "a job that waits for a node is taken by that node", terms.places_fit),
        ("I20", "of unique jobs one is open at a time", terms.one_is_open),
        ("E", "every job ends as its type is meant to, and says why", outcomes_fit),
        ("C", "a corrupted row harms its own job only, in plain words", harm_stays),
        ("S", "a conductor goes on until it is told to leave, and leaves in order", conductors_stay),
    ]
    tallies = []
    for name, says, check in checks if case.has_epochs else owners.adapted(checks):
        tally = Tally(name=name, says=says)
        check(records, tally)
        tallies.append(tally)
    return tallies


def posts_are_kept(records: Records, tally: Tally) -> None:
    """I1."""
    for job, posted in records.case.posted.items():
        if job in records.case.harms:
            continue
        end = records.end_of(job)
        if job in records.removed:
            tally.check(end not in (None, "RUNNING"), f"job {job} was removed, and was {end} before")
            continue
        what = "is not in SQL" if end is None else f"is {end} in the end"
        tally.check(end in TERMINAL, f"job {job} ({posted.kind.name}) was acknowledged and {what}")


def one_success(records: Records, tally: Tally) -> None:
    """I2: in SQL, and by what later atoms were given."""
    for job, attempt in records.atoms:
        for name, changes in records.by_atom(job, attempt).items():
            if changes[0].kind == TASK:
                _one_success(f"atom {name} of job {job}", changes, tally)
    for job, lines in records.lines.items():
        _same_tokens(job, lines, tally)


def _one_success(what: str, changes: list[Change], tally: Tally) -> None:
    done: Change | None = None
    for change in changes:
        if change.state == "SUCCESS" and change.op != "D":
            same = done is None or done.digest == change.digest
            tally.check(same, f"{what}: its result changed after SUCCESS (line {change.seq} of the history)")
            done = change
        elif done is not None:
            undone = change.state in ("REVERTING", "REVERTED") and change.op != "D"
            tally.check(
                undone, f"{what}: after SUCCESS it became {change.state or 'nothing'} (line {change.seq})"
            )
            done = None


def _same_tokens(job: str, lines: list[Line], tally: Tally) -> None:
    """What an atom was given is what another gave; and the same each time, unless that was undone in between."""
    gave: dict[tuple[int, str], set[str | None]] = defaultdict(set)
    undone = {(line.attempt, line.atom) for line in lines if line.what == REVERT}
    given: dict[tuple[int, str], str] = {}
    for line in lines:
        if line.what == END:
            gave[line.attempt, line.atom].add(line.gave)
    for line in lines:
        for source, token in line.got.items():
            key = (line.attempt, source)
            tally.check(token in gave[key], f"job {job}: {line.atom} was given what {source} never gave")
            if key not in undone:
                same = given.setdefault(key, token) == token
                tally.check(same, f"job {job}: {source}'s result was another when {line.atom} got it")


def barriers_hold(records: Records, tally: Tally) -> None:
    """I3: by the time of its first line of evidence, an atom's RUNNING and its predecessors' SUCCESS were written.

    The history tells when a statement ran, and its commit is later still; so a start before that is certainly too
    early. What was written by the transaction that began the atom counts as written before it.
    """
    for job, lines in records.lines.items():
        for line in lines:
            if line.what == START:
                _barrier_holds(records.atoms.get((job, line.attempt), []), line, tally)


def _barrier_holds(changes: list[Change], line: Line, tally: Tally) -> None:
    what = f"job {line.job}: {line.atom} started in epoch {line.epoch}"
    began = [
        place
        for place, change in enumerate(changes)
        if change.name == line.atom
        and change.state == "RUNNING"
        and change.epoch == line.epoch
        and change.at_us <= line.wall_us + CLOCK_US
    ]
    tally.check(bool(began), f"{what} before that was recorded")
    if not began:
        return
    place = began[-1]
    while place + 1 < len(changes) and _goes_with(changes[place + 1], changes[began[-1]], line):
        place += 1
    states = {change.name: change.state for change in changes[: place + 1]}
    for other in line.after:
        found = states.get(other)
        tally.check(found == "SUCCESS", f"{what} while {other} was recorded as {found}")


def _goes_with(change: Change, began: Change, line: Line) -> bool:
    """Whether a later change came over the same connection before the atom started: by the same transaction."""
    return change.connection == began.connection and change.at_us <= line.wall_us + CLOCK_US


def epochs_hold(records: Records, tally: Tally) -> None:
    """I4, and the fence: whatever names an epoch names the one that was the job's when it was written."""
    for job, changes in records.jobs.items():
        for before, now in pairwise(changes):
            if now.epoch is not None and before.epoch is not None:
                tally.check(
                    now.epoch >= before.epoch,
                    f"job {job}: its epoch fell from {before.epoch} to {now.epoch} (line {now.seq})",
                )
    for (job, _), atoms in records.atoms.items():
        for change in atoms:
            if change.kind == TASK and change.epoch is not None and _says_epoch(change):
                epoch = records.epoch_at(job, change.seq)
                tally.check(
                    change.epoch == epoch,
                    f"job {job}: the owner of epoch {change.epoch} recorded {change.name} as {change.state} in "
                    f"epoch {epoch} (line {change.seq})",
                )


def _says_epoch(change: Change) -> bool:
    """An atom's record names the epoch of its start; its end must be recorded by the same owner."""
    return change.state in ("RUNNING", "SUCCESS", "FAILURE") and change.state != change.was


def one_end(records: Records, tally: Tally) -> None:
    """I5."""
    for job, changes in records.jobs.items():
        ends: Counter[int | None] = Counter()
        for before, now in pairwise(changes):
            ended = before.state in TERMINAL and before.attempt == now.attempt
            if now.state in TERMINAL and not ended:
                ends[now.attempt] += 1
            if ended:
                same = now.op != "D" and now.state == before.state and now.epoch == before.epoch
                tally.check(same, f"job {job} went on after it was {before.state} (line {now.seq})")
        for attempt, times in ends.items():
            tally.check(times == 1, f"job {job} ended {times} times in attempt {attempt}")


def effects_are_bounded(records: Records, tally: Tally) -> None:
    """I6. An atom below a retry is started several times in an epoch; each time its record says so."""
    for job, lines in records.lines.items():
        effects: Counter[tuple[int, str, int | None]] = Counter(
            (line.attempt, line.atom, line.epoch) for line in lines if line.what == START
        )
        epochs: dict[tuple[int, str], set[int | None]] = defaultdict(set)
        for (attempt, atom, epoch), times in effects.items():
            epochs[attempt, atom].add(epoch)
            started = _starts(records.atoms.get((job, attempt), []), atom, epoch)
            what = f"job {job}: {atom} took effect {times} times in epoch {epoch}, recorded {started} starts"
            tally.check(times <= started, what)
        for (attempt, atom), found in epochs.items():
            owners = len(records.claims(job, attempt))
            what = f"job {job}: {atom} took effect in {len(found)} epochs of {owners} owners"
            tally.check(len(found) <= owners, what)


def _starts(changes: list[Change], atom: str, epoch: int | None) -> int:
    found = [change for change in changes if change.name == atom and change.state == "RUNNING"]
    times = 0
    last: tuple[int | None, int | None] | None = None
    for change in found:
        now = (change.epoch, change.starts)
        if change.epoch == epoch and (change.was != "RUNNING" or now != last):
            times += 1
        last = now
    return times


def reverts_fit(records: Records, tally: Tally) -> None:
    """I7. What an owner still did after the job was another's, nobody can undo; it is counted beside."""
    late: Counter[str] = Counter()
    for job, lines in records.lines.items():
        for atom, attempt in sorted({(line.atom, line.attempt) for line in lines}):
            end = records.end_of_attempt(job, attempt)
            if end not in UNDONE and end != "SUCCEEDED":
                continue
            own = [line for line in lines if line.atom == atom and line.attempt == attempt]
            timely = [line for line in own if not _too_late(records, line)]
            late.update(line.what for line in own if line not in timely)
            if timely:
                last = timely[-1].what
                wanted = last == REVERT if end in UNDONE else any(line.what == END for line in timely)
                wanted = wanted and (end in UNDONE or last != REVERT)
                tally.check(wanted, f"job {job} is {end}, and the last of its {atom} is a {last}")
    if late:
        words = ", ".join(f"{count} {what}s" for what, count in sorted(late.items()))
        tally.note = f"left out, of owners that had lost the job by then: {words}"


def _too_late(records: Records, line: Line) -> bool:
    """Whether the job had another owner by then."""
    if not records.case.has_epochs:
        return records.is_former(line)
    epoch = records.epoch_when(line.job, line.wall_us)
    return line.epoch is not None and epoch is not None and line.epoch < epoch


def reports_are_true(records: Records, tally: Tally) -> None:
    """I9, and that what was once reported as ended stays so."""
    first_end: dict[str, tuple[int, str]] = {}
    for report in sorted(records.case.reports, key=lambda report: report.at_us):
        if report.job in records.case.harms:
            continue
        if report.terminal:
            said = any(
                change.state == report.state and change.at_us <= report.at_us + CLOCK_US
                for change in records.jobs.get(report.job, ())
            )
            tally.check(said, f"job {report.job} was reported as {report.state} before SQL said so")
            first_end.setdefault(report.job, (report.at_us, report.state))
        ended = first_end.get(report.job)
        if ended is not None and ended[0] < report.began_us and report.at_us < records.undone_us(report.job):
            same = report.state == ended[1]
            tally.check(same, f"job {report.job} was reported as {report.state} after it had been {ended[1]}")


def check(case: Case) -> tuple[list[Tally], int]:
    """All tallies, and the number of takeovers."""
    return check_all(case), Records(case).takeovers
