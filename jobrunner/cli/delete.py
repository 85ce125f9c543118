"""``jobrunner delete ID...``."""

from __future__ import annotations

import argparse
from typing import Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.each import Record, add_ids_parser, for_each_id
from jobrunner.cli.options import add_json, duration
from jobrunner.model import CancelMode

DESCRIPTION = """\
Delete jobs with all that is recorded of them: atoms, results, output, history. There is no way back.

A job that runs is deleted only with --cancel. Nothing else is undone: what a half-done job did stays. One that open
jobs come after is not deleted. That a job is not there any more is fine, if its complete id is given.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "delete", DESCRIPTION, jobs="jobs to delete")
    parser.add_argument(
        "--cancel", action="store_true", help="cancel a running job, and delete it when it has ended"
    )
    parser.add_argument(
        "--no-revert", action="store_true", help="with --cancel: leave its finished atoms as they are"
    )
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="with --cancel: wait for so long at most"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import remove

    mode = (CancelMode.KEEP if args.no_revert else CancelMode.REVERT) if args.cancel else None
    with open_context(args) as context:

        def delete(given: str) -> Record:
            deleted = remove.delete(context, given, cancel=mode, timeout=args.timeout)
            if not args.json:
                how = "is deleted." if deleted.existed else "is not there any more, or never was."
                output.say(f"job {deleted.job_id[:8] if deleted.existed else deleted.job_id} {how}")
            return {"id": deleted.job_id, "deleted": deleted.existed}

        code, done = for_each_id(args.ids, delete)
    if args.json:
        output.print_json(done)
    return code
