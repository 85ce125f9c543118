"""``jobrunner list``: jobs by state, type, tags, author, text and time, in pages."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobrunner import times
from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json, job_state, moment, positive, tag
from jobrunner.cli.output import Cell, Column
from jobrunner.cli.records import job_record
from jobrunner.cli.states import job_look
from jobrunner.cli.waits import waits_for
from jobrunner.errors import EXIT_OK
from jobrunner.model import OPEN_STATES, TERMINAL_STATES, Job, JobState

if TYPE_CHECKING:
    from jobrunner.persistence.store import JobFilter

COLUMNS = (
    Column(title="JOB"),
    Column(title="STATE"),
    Column(title="TYPE"),
    Column(title="NODE"),
    Column(title="POSTED"),
    Column(title="TOOK", right=True),
    Column(title="ABOUT", grow=True),
)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("list")
    parser.add_argument(
        "--state", type=job_state, action="append", metavar="STATE", default=[],
        help="only jobs in this state, or open, or finished; can be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--type", action="append", metavar="TYPE", default=[], help="only jobs of this type; can be repeated"
    )
    parser.add_argument(
        "--text", metavar="TEXT", help="only jobs with TEXT in type, parameters, properties, error or node"
    )
    parser.add_argument(
        "--tag", type=tag, action="append", metavar="NAME[=VALUE]", default=[],
        help="only jobs with this property (of any value, if none is given); if repeated, with all of them",
    )  # fmt: skip
    parser.add_argument("--author", metavar="NAME", help="only jobs that NAME posted")
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help="only jobs posted since (a time, or 2h: so long ago)"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="only jobs posted until then")
    parser.add_argument("--jobset", metavar="ID", help="only jobs of this jobset")
    parser.add_argument(
        "--limit", type=positive, metavar="N", default=50, help="at most so many jobs (default: 50)"
    )
    parser.add_argument(
        "--before", type=positive, metavar="MARK", help="the next page, as the one before it says"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import look

    with open_context(args) as context:
        wanted = job_filter(args)
        if args.jobset:
            from jobrunner.jobs import jobsets

            wanted = replace(wanted, jobset_id=jobsets.find(context, args.jobset).id)
        jobs, mark, broken = look.page(context, wanted, limit=args.limit, before=args.before)
    for error in broken:
        output.say_error(error)
    if args.json:
        output.print_json([job_record(job) for job in jobs])
    elif jobs:
        print_jobs(jobs)
    elif not broken:
        output.say(
            "No such jobs." if _is_filtered(args) else "No jobs yet. `jobrunner post --help` tells how."
        )
    if mark is not None:
        output.say(f"There are more: {next_page(sys.argv[1:], mark)}")
    return EXIT_OK


def job_filter(args: argparse.Namespace) -> JobFilter:
    """The filter that the options ask for."""
    from jobrunner.jobs.look import JobFilter

    return JobFilter(
        states=expand_states(args.state),
        types=args.type,
        text=args.text,
        since_ms=args.since,
        until_ms=args.until,
        tags=dict(args.tag),
        author=args.author,
    )


def expand_states(words: Sequence[str]) -> list[JobState]:
    """The states that the words name; ``open`` and ``finished`` name several."""
    groups = {"open": OPEN_STATES, "finished": TERMINAL_STATES}
    wanted = {state for word in words for state in groups.get(word) or [JobState(word)]}
    return sorted(wanted)


def print_jobs(jobs: Sequence[Job]) -> None:
    """The jobs as a table."""
    now = times.now_ms()
    output.print_table(COLUMNS, [job_row(job, now) for job in jobs])


def job_row(job: Job, now_ms: int) -> list[Cell | str]:
    """A job's line: what it is, how it stands, and what is most worth knowing about it."""
    look = job_look(job.state)
    took = text.duration(text.between(job.started_ms, job.finished_ms, now_ms))
    return [
        job.short_id,
        Cell(job.state.value, look.style),
        job.type,
        job.node or "",
        text.ago(job.created_ms, now_ms),
        took,
        Cell(about(job), "red" if job.error else "bright_black"),
    ]


def about(job: Job, limit: int = 120) -> str:
    """What is most worth knowing: why it failed, else why it waits, else its parameters."""
    if job.error is not None:
        return text.shorten(text.clean(job.error.message or job.error.kind), limit)
    if job.note and not job.state.is_terminal:
        return text.shorten(text.clean(job.note), limit)
    if waits := waits_for(job, times.now_ms()):
        return text.shorten(f"waits for {waits}", limit)
    parts = (
        f"{text.clean(key)}={text.brief_json(value, 40)}"
        for key, value in job.parameters.items()
        if value is not None
    )
    return text.shorten(" ".join(parts), limit)


def next_page(arguments: Sequence[str], mark: int) -> str:
    """The command that shows the next page."""
    kept: list[str] = []
    skip = False
    for word in arguments:
        if skip or word == "--before" or word.startswith("--before="):
            skip = word == "--before"
            continue
        kept.append(word)
    return shlex.join(["jobrunner", *kept, "--before", str(mark)])


def _is_filtered(args: argparse.Namespace) -> bool:
    given = (args.state, args.type, args.text, args.tag, args.author, args.since, args.until, args.before)
    return any(given) or bool(args.jobset)
