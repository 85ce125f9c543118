"""``jobrunner cancel ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.each import for_each
from jobrunner.cli.options import add_json
from jobrunner.model import CancelMode, JobState

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Cancel jobs: one that waits now, one that runs at its next atom border.

The finished atoms of a running job are undone, last first, unless --no-revert is given.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "cancel", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="jobs to cancel; - reads ids from stdin")
    parser.add_argument("--no-revert", action="store_true", help="leave finished atoms as they are")
    parser.add_argument(
        "--wait", action="store_true", help="wait until they are cancelled; 1 if one ended otherwise"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    mode = CancelMode.KEEP if args.no_revert else CancelMode.REVERT

    def act(context: JobContext, job: Job) -> dict[str, object]:
        from jobrunner.jobs import change

        state = change.cancel(context, job, mode)
        if not args.json:
            output.say(f"job {job.short_id} {_in_words(state, mode)}")
        return {"id": job.id, "state": state.value, "mode": mode.value}

    return for_each(args, act)


def _in_words(state: JobState, mode: CancelMode) -> str:
    if state is JobState.CANCELLED:
        return "is cancelled."
    then = "" if mode is CancelMode.KEEP else ", and its finished atoms are undone"
    if state is JobState.RUNNING:
        return f"is being cancelled: it ends at its next atom border{then}."
    return f"is being cancelled: its flow is half done, so the next conductor ends it{then}."
