"""``jobrunner resume ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli.each import Record, add_ids_parser, add_wait, for_each
from jobrunner.cli.options import add_json
from jobrunner.model import JobState

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Let jobs go on that `jobrunner suspend` stopped, or was about to; what they waited for before they wait for again.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "resume", DESCRIPTION, jobs="jobs to resume")
    add_wait(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> tuple[Record, str]:
        from jobrunner.jobs import change

        resumed = change.resume(context, job)
        record: Record = {"id": job.id, "state": resumed.state.value}
        return record, _in_words(job, resumed)

    return for_each(args, act)


def _in_words(before: Job, after: Job) -> str:
    if not before.held:
        return f"was not suspended: it is {after.state}."
    if after.state is JobState.RUNNING:
        return "runs on."
    return f"goes on: it is {after.state}."
