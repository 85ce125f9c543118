"""``jobrunner adopt ID...``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli.each import Record, add_ids_parser, add_wait, for_each
from jobrunner.cli.options import add_json

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

DESCRIPTION = """\
Let half-done jobs go on with other code than they began with: those that wait for a node that has it.

Tasks that ended stay ended, new ones are run, and what the new code does not have any more is neither run nor undone.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "adopt", DESCRIPTION, jobs="jobs to adopt")
    add_wait(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    def act(context: JobContext, job: Job) -> tuple[Record, str]:
        from jobrunner.jobs.adopt import adopt

        adopted = adopt(context, job)
        record: Record = {"id": adopted.id, "state": adopted.state.value}
        return record, "goes on with the code of the next node that claims it."

    return for_each(args, act)
