"""``jobrunner suspend ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli.each import Record, add_ids_parser, for_each
from jobrunner.cli.options import add_json
from jobrunner.model import JobState

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Suspend jobs until `jobrunner resume`: one that waits now, one that runs at its next atom border.

What is done stays done, and goes on from there. A job that is being cancelled cannot be suspended.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "suspend", DESCRIPTION, jobs="jobs to suspend")
    parser.set_defaults(wait=False)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> tuple[Record, str]:
        from jobrunner.jobs import change

        suspended = change.suspend(context, job)
        record: Record = {"id": job.id, "state": suspended.state.value, "held": suspended.held}
        return record, _in_words(suspended.state)

    return for_each(args, act)


def _in_words(state: JobState) -> str:
    if state is JobState.RUNNING:
        return "is being suspended: it stops at its next atom border."
    return "is suspended."
