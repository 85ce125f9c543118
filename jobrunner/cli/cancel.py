"""``jobrunner cancel ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli.each import Record, add_ids_parser, add_wait, for_each
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
    parser = add_ids_parser(subparsers, "cancel", DESCRIPTION, jobs="jobs to cancel")
    parser.add_argument("--no-revert", action="store_true", help="leave finished atoms as they are")
    add_wait(parser, "wait until they are cancelled; 1 if one ended otherwise")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    mode = CancelMode.KEEP if args.no_revert else CancelMode.REVERT

    def act(context: JobContext, job: Job) -> tuple[Record, str]:
        from jobrunner.jobs import change

        state = change.cancel(context, job, mode)
        record: Record = {"id": job.id, "state": state.value, "mode": mode.value}
        return record, _in_words(state, mode)

    return for_each(args, act)


def _in_words(state: JobState, mode: CancelMode) -> str:
    if state is JobState.CANCELLED:
        return "is cancelled."
    then = "" if mode is CancelMode.KEEP else ", and its finished atoms are undone"
    if state is JobState.RUNNING:
        return f"is being cancelled: it ends at its next atom border{then}."
    return f"is being cancelled: its flow is half done, so the next conductor ends it{then}."
