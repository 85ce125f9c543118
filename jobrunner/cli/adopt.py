"""``jobrunner adopt ID...``."""

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
Let half-done jobs go on with other code than they began with: those that wait for a node that has it.

Tasks that ended stay ended, new ones are run, and what the new code does not have any more is neither run nor undone.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "adopt", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="jobs to adopt; - reads ids from stdin")
    parser.add_argument(
        "--wait", action="store_true", help="wait until they have ended; 1 if one did not succeed"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> dict[str, object]:
        from jobrunner.jobs.adopt import adopt

        adopted = adopt(context, job)
        if not args.json:
            output.say(f"job {job.short_id} goes on with the code of the next node that claims it.")
        return {"id": adopted.id, "state": adopted.state.value}

    return for_each(args, act)
