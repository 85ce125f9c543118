"""Checks for a system without epochs: an owner is a run of a job by a process, by the evidence that it left.

Whose turn it is, nobody recorded. What can be told is who began later than another: from then on the other is a former
owner, and what it still has under way is left out as it is with epochs, but it must start nothing more.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.case import START
from tests.chaos.checker import CLOCK_US, Tally
from tests.chaos.machines import Death
from tests.chaos.records import TERMINAL, Records
from tests.chaos.speed import ALLOWED_S, Takeover, is_measured

Check = tuple[str, str, Callable[[Records, Tally], None]]
LEFT_OUT = frozenset({"I6", "C", "I11", "I12", "I13", "I14", "I15", "I16", "I17", "I18", "I19", "I20"})
"""What cannot be asked: nothing counts claims, says of a job what is wrong with it, or gives it more of a life."""


def adapted(checks: list[Check]) -> list[Check]:
    """The checks as they can be made by owners."""
    own: dict[str, Check] = {
        "I4": ("I4", "no former owner starts an atom", former_owners_rest),
        "I8": ("I8", "takeover within the lease + 2 s (each)", takes_over),
        "E": ("E", "every job ends as its type is meant to", ends_fit),
    }
    return [own.get(check[0], check) for check in checks if check[0] not in LEFT_OUT]


def former_owners_rest(records: Records, tally: Tally) -> None:
    """I4, as far as it shows in what is done; what a former owner records shows in I2, I3 and I5."""
    for job, lines in records.lines.items():
        for line in lines:
            if line.what == START:
                what = f"job {job}: {line.owner} started {line.atom} after another owner had begun"
                tally.check(not records.is_former(line), what)


def takes_over(records: Records, tally: Tally) -> None:
    """I8: from an owner's death to the next owner's first line; each counts, and none at all is a violation."""
    limit = records.case.lease + ALLOWED_S
    never, left_out = 0, 0
    for death in records.case.deaths:
        for takeover in _takeovers(records, death):
            if takeover.seconds == float("inf"):
                never += 1
                tally.check(False, f"job {takeover.job} was not taken over at all")
            elif is_measured(records.case, death, takeover):
                words = f"job {takeover.job} was taken over after {takeover.seconds:.2f} s"
                tally.check(takeover.seconds <= limit, words)
            else:
                left_out += 1
    tally.note = f"{never} never; left out, while a server was away or nobody was there: {left_out}"


def _takeovers(records: Records, death: Death) -> list[Takeover]:
    """What was under way by this owner when it died, and stayed dead."""
    found = []
    for job, lines in records.lines.items():
        before = [line for line in lines if line.wall_us <= death.at_us]
        if not before or not death.killed(before[-1].owner):
            continue
        if death.until_us is not None or records.ended_by(job, death.at_us + CLOCK_US):
            continue
        after = [line.wall_us for line in lines if line.wall_us > death.at_us]
        ends = [
            change.at_us
            for change in records.jobs.get(job, ())
            if change.at_us > death.at_us and change.state in TERMINAL
        ]
        sign = min([*after, *ends], default=None)
        seconds = float("inf") if sign is None else (sign - death.at_us) / 1e6
        found.append(Takeover(job=job, seconds=seconds, at_us=death.at_us))
    return found


def ends_fit(records: Records, tally: Tally) -> None:
    """E, without words."""
    for job, posted in records.case.posted.items():
        end = records.end_of(job)
        if job not in records.case.harms and end in TERMINAL:
            tally.check(end in posted.kind.ends, f"job {job} ({posted.kind.name}) is {end}")
