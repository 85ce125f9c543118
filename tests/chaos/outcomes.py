"""How jobs end: as their types are meant to, with words that say why; and corrupted ones, with words at least."""

from __future__ import annotations

from tests.chaos.checker import EXAMPLES, MAX_DEATHS, OWNERS_DIED, Tally
from tests.chaos.records import TERMINAL, Records


def outcomes_fit(records: Records, tally: Tally) -> None:
    """E. A job whose owners were killed five times is set aside, whatever it is: the harness killed them."""
    set_aside = 0
    strayed: dict[str, bool] = {}
    for job, posted in records.case.posted.items():
        end = records.end_of(job)
        if job in records.case.harms or job in records.removed or end not in TERMINAL:
            continue
        state, words = records.case.seen.get(job, ("", ""))
        tally.check(state == end, f"job {job} is {end}, and users are told {state or 'nothing'}")
        deaths = records.jobs[job][-1].deaths or 0
        if end == "FAILED" and deaths >= MAX_DEATHS and not posted.kind.deadly:
            set_aside += 1
            tally.check(OWNERS_DIED in words, f"job {job} was set aside without saying why: {words!r}")
            continue
        if _strayed(records, job, strayed):
            continue  # whether it was to be run is what I12 asks
        cancelled = records.is_touched(job, "cancel")
        ends = {*posted.kind.ends, *(("CANCELLED", "REVERTED") if cancelled else ())}
        tally.check(end in ends, f"job {job} ({posted.kind.name}) is {end}: {words[:200]}")
        if posted.kind.words and not cancelled:
            tally.check(
                posted.kind.words in words,
                f"job {job} ({posted.kind.name}) does not say why: {words[:200]!r}",
            )
    if set_aside:
        tally.note = f"{set_aside} jobs were set aside: their owners had been killed {MAX_DEATHS} times"


def _strayed(records: Records, job: str, known: dict[str, bool]) -> bool:
    """Whether a job that comes before this one may have ended otherwise than its type is meant to."""
    if job not in known:
        known[job] = any(
            records.is_touched(other, "cancel", "retry", "delete")
            or records.end_of(other) not in records.case.posted[other].kind.ends
            or _strayed(records, other, known)
            for other, _ in records.case.posted[job].after
        )
    return known[job]


def harm_stays(records: Records, tally: Tally) -> None:
    """C. That others took no harm is what all the other checks say; here, that the job itself is spoken of."""
    for harm in records.case.harms.values():
        fine = harm.state == "SUCCEEDED" or bool(harm.words)
        tally.check(fine, f"job {harm.job} ({harm.what}) is {harm.state or 'unknown'}, and nobody says why")


def conductors_stay(records: Records, tally: Tally) -> None:
    """S. One count for each conductor that was started, one for each that left at a word."""
    case = records.case
    tally.checks = case.starts + len(case.exit_codes)
    wrong = [f"left with exit code {code}" for code in case.exit_codes if code != 0]
    tally.violations = len(case.given_up) + len(wrong)
    tally.examples = [*case.given_up, *wrong][:EXAMPLES]
