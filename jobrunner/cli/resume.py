"""``jobrunner resume ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.each import for_each
from jobrunner.cli.options import add_json
from jobrunner.model import JobState

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Let jobs go on that `jobrunner suspend` stopped, or was about to; what they waited for before they wait for again.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "resume", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="jobs to resume; - reads ids from stdin")
    parser.add_argument(
        "--wait", action="store_true", help="wait until they have ended; 1 if one did not succeed"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> dict[str, object]:
        from jobrunner.jobs import change

        resumed = change.resume(context, job)
        if not args.json:
            output.say(f"job {job.short_id} {_in_words(job, resumed)}")
        return {"id": job.id, "state": resumed.state.value}

    return for_each(args, act)


def _in_words(before: Job, after: Job) -> str:
    if not before.held:
        return f"was not suspended: it is {after.state}."
    if after.state is JobState.RUNNING:
        return "runs on."
    return f"goes on: it is {after.state}."
