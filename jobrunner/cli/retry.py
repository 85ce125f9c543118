"""``jobrunner retry ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.each import for_each
from jobrunner.cli.options import add_json

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Run jobs that ended, and did not succeed, again, from their start, as a new attempt.

The id stays, and what earlier attempts did and printed is kept: `jobrunner status ID --attempt N`.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "retry", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="jobs to run again; - reads ids from stdin")
    parser.add_argument(
        "--wait", action="store_true", help="wait until they have ended; 1 if one did not succeed"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> dict[str, object]:
        from jobrunner.jobs import change

        again = change.retry(context, job)
        if not args.json:
            output.say(f"job {job.short_id} waits for its attempt {again.attempt}.")
        return {"id": again.id, "state": again.state.value, "attempt": again.attempt}

    return for_each(args, act)
