"""``jobrunner wait ID...``."""

from __future__ import annotations

import argparse
from typing import Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.each import add_ids_parser
from jobrunner.cli.options import add_json, duration, require_ids
from jobrunner.cli.records import job_record

DESCRIPTION = """\
Wait until all the jobs have ended.

Exit codes: 0 all succeeded, 1 one of them did not, 124 the time is up.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = add_ids_parser(subparsers, "wait", DESCRIPTION, jobs="jobs to wait for")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="give up after so long, for instance 10m"
    )
    parser.add_argument(
        "--any", action="store_true", help="wait for the first of them only, and print its id"
    )
    add_json(parser, "print the jobs as they ended as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    with open_context(args) as context:
        from jobrunner.cli.waiting import tell_ends, wait_for
        from jobrunner.jobs import look

        ids = list(dict.fromkeys(look.find(context, prefix).id for prefix in require_ids(args.ids)))
        jobs = wait_for(context, ids, timeout=args.timeout, any_of_them=args.any)
        if args.json:
            output.print_json([job_record(job) for job in jobs])
        elif args.any:
            for job in jobs:
                print(job.id)
        return tell_ends(jobs)
