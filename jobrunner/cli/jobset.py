"""``jobrunner jobset list|show|wait|cancel|retry``: jobs that were posted as one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner import times
from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.list import print_jobs
from jobrunner.cli.options import add_json, duration, positive
from jobrunner.cli.output import Cell, Column
from jobrunner.cli.records import job_record, jobset_record
from jobrunner.cli.states import job_look
from jobrunner.errors import EXIT_JOB_FAILED, EXIT_OK
from jobrunner.model import CancelMode, JobState

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.jobs.jobsets import Jobset, RetriedSet

COLUMNS = (
    Column(title="JOBSET"),
    Column(title="STATE"),
    Column(title="ENDED", right=True),
    Column(title="POSTED"),
    Column(title="BY"),
    Column(title="NAME"),
    Column(title="JOBS", grow=True),
)
SHOWN_JOBS = 100


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("jobset")
    nested = parser.add_subparsers(dest="jobset_command", metavar="COMMAND", required=True)
    listing = nested.add_parser(
        "list", help="list jobsets, newest first", description="List jobsets, newest first."
    )
    listing.add_argument(
        "--limit", type=positive, metavar="N", default=50, help="at most so many (default: 50)"
    )
    listing.add_argument("--before", type=positive, metavar="MARK", help="the next page")
    add_json(listing)
    add_json(_with_id(nested, "show", "tell how a jobset stands, and list its jobs"))
    waiting = _with_id(nested, "wait", "wait until all of its jobs have ended")
    waiting.add_argument("--timeout", type=duration, metavar="TIME", help="give up after so long")
    add_json(waiting)
    cancelling = _with_id(nested, "cancel", "cancel all of its jobs that have not ended")
    cancelling.add_argument("--no-revert", action="store_true", help="leave finished atoms as they are")
    add_json(cancelling)
    retrying = _with_id(nested, "retry", "run those of its jobs again that did not succeed")
    retrying.add_argument("--wait", action="store_true", help="wait until all of its jobs have ended")
    add_json(retrying)
    return parser


def _with_id(nested: Any, name: str, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = nested.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}."
    )
    parser.add_argument("id", metavar="ID", help="the jobset's id, or the start of it")
    return parser


def run(args: argparse.Namespace) -> int:
    act = {"list": _list, "show": _show, "wait": _wait, "cancel": _cancel, "retry": _retry}[
        args.jobset_command
    ]
    with open_context(args) as context:
        return act(context, args)


def _list(context: JobContext, args: argparse.Namespace) -> int:
    from jobrunner.jobs import jobsets

    found, mark = jobsets.page(context, limit=args.limit, before=args.before)
    if args.json:
        output.print_json([jobset_record(jobset) for jobset in found])
    elif found:
        now = times.now_ms()
        output.print_table(COLUMNS, [jobset_row(jobset, now) for jobset in found])
    else:
        output.say("No jobsets. `jobrunner post A --then B` posts one.")
    if mark is not None:
        output.say(f"There are more: jobrunner jobset list --before {mark}")
    return EXIT_OK


def _show(context: JobContext, args: argparse.Namespace) -> int:
    from jobrunner.jobs import jobsets

    jobset = jobsets.find(context, args.id)
    members = jobsets.members(context, jobset)
    if args.json:
        output.print_json(jobset_record(jobset) | {"jobs": [job_record(job) for job in members]})
        return EXIT_OK
    for line in jobset_lines(jobset, times.now_ms()):
        print(line)
    print()
    print_jobs(members[:SHOWN_JOBS])
    if len(members) > SHOWN_JOBS:
        more = len(members) - SHOWN_JOBS
        output.say(f"... and {more:,} more: jobrunner list --jobset {jobset.short_id} --limit {len(members)}")
    return EXIT_OK


def _wait(context: JobContext, args: argparse.Namespace) -> int:
    from jobrunner.cli.waiting import wait_for_set
    from jobrunner.jobs import jobsets

    ended = wait_for_set(context, jobsets.find(context, args.id), timeout=args.timeout)
    if args.json:
        output.print_json(jobset_record(ended))
    return _tell_end(context, ended)


def _tell_end(context: JobContext, ended: Jobset) -> int:
    """Say which of its jobs ended badly, and how it ended itself if not well; the exit code."""
    from jobrunner.cli.waiting import end_in_words
    from jobrunner.jobs import jobsets

    for job in jobsets.failed_members(context, ended):
        output.say(end_in_words(job))
    if ended.state is JobState.SUCCEEDED:
        return EXIT_OK
    output.say(f"jobset {ended.short_id} ended as {ended.state}: {counts_in_words(ended)}.")
    return EXIT_JOB_FAILED


def _cancel(context: JobContext, args: argparse.Namespace) -> int:
    from jobrunner.jobs import jobsets

    mode = CancelMode.KEEP if args.no_revert else CancelMode.REVERT
    jobset = jobsets.cancel(context, jobsets.find(context, args.id), mode)
    left = jobset.size - jobset.ended
    if args.json:
        output.print_json(jobset_record(jobset))
    elif left:
        output.say(
            f"jobset {jobset.short_id} is being cancelled: {left:,} of its jobs end at their next atom border."
        )
    else:
        output.say(f"jobset {jobset.short_id} has ended: {counts_in_words(jobset)}.")
    return EXIT_OK


def _retry(context: JobContext, args: argparse.Namespace) -> int:
    from jobrunner.cli.waiting import wait_for_set
    from jobrunner.jobs import jobsets

    outcome = jobsets.retry(context, jobsets.find(context, args.id))
    jobset = outcome.jobset
    if not args.json:
        _tell_retried(outcome)
    for job_id, why in outcome.refused.items():
        output.say(f"job {job_id[:8]} cannot be retried now: {text.clean(why)}.")
    if args.wait:
        jobset = wait_for_set(context, outcome.jobset)
    if args.json:
        said = {"retried": outcome.retried, "refused": outcome.refused}
        output.print_json(jobset_record(jobset) | said)
    code = EXIT_JOB_FAILED if outcome.refused else EXIT_OK
    return _tell_end(context, jobset) or code if args.wait else code


def _tell_retried(outcome: RetriedSet) -> None:
    jobset = outcome.jobset
    kept = jobset.counts.get(JobState.SUCCEEDED, 0)
    if outcome.retried:
        output.say(
            f"jobset {jobset.short_id}: {len(outcome.retried):,} of its {jobset.size:,} jobs are run again; "
            f"results of {kept:,} that succeeded are kept."
        )
    elif not outcome.refused:
        output.say(f"jobset {jobset.short_id}: nothing to retry; {counts_in_words(jobset)}.")


def jobset_row(jobset: Jobset, now_ms: int) -> list[Cell | str]:
    """A jobset's line."""
    return [
        jobset.short_id,
        Cell(jobset.state.value, job_look(jobset.state).style),
        f"{jobset.ended:,} of {jobset.size:,}",
        text.ago(jobset.created_ms, now_ms),
        jobset.author or "",
        jobset.name or "",
        Cell(counts_in_words(jobset), "bright_black"),
    ]


def jobset_lines(jobset: Jobset, now_ms: int) -> list[str]:
    """A jobset's own facts."""
    look = job_look(jobset.state)
    by = f" by {text.clean(jobset.author)}" if jobset.author else ""
    lines = [
        ("Jobset", output.styled(jobset.id, "bold")),
        ("Name", text.clean(jobset.name or "")),
        ("State", output.styled(f"{look.mark} {jobset.state}", look.style)),
        ("Jobs", f"{jobset.size:,}: {counts_in_words(jobset)}"),
        ("Posted", f"{text.moment(jobset.created_ms)} ({text.ago(jobset.created_ms, now_ms)}){by}"),
    ]
    return [f"{label:<12}{value}" for label, value in lines if value]


def counts_in_words(jobset: Jobset) -> str:
    """How many of its jobs are in which state; skipped ones apart from those that a person cancelled."""
    counts = {state.value.lower(): number for state, number in jobset.counts.items()}
    if jobset.skipped:
        counts["cancelled"] = counts.get("cancelled", 0) - jobset.skipped
        counts["skipped"] = jobset.skipped
    order = [*(state.value.lower() for state in JobState), "skipped"]
    return ", ".join(f"{counts[name]:,} {name}" for name in order if counts.get(name))
