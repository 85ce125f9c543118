"""``jobrunner retry ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli.each import Record, add_ids_parser, add_wait, for_each
from jobrunner.cli.options import add_json

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Run jobs that ended, and did not succeed, again, from their start, as a new attempt.

The id stays, and what earlier attempts did and printed is kept: `jobrunner status ID --attempt N`.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "retry", DESCRIPTION, jobs="jobs to run again")
    add_wait(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> tuple[Record, str]:
        from jobrunner.jobs import change

        again = change.retry(context, job)
        record: Record = {"id": again.id, "state": again.state.value, "attempt": again.attempt}
        return record, f"waits for its attempt {again.attempt}."

    return for_each(args, act)
