"""``jobrunner run``: a conductor on this machine."""

from __future__ import annotations

import argparse
import signal
from types import FrameType
from typing import Any

from jobrunner.cli.context import load_config
from jobrunner.cli.options import duration, positive

DESCRIPTION = """\
Run a conductor: claim jobs from the board and run them, until a signal says otherwise.

The first SIGTERM or SIGINT lets running atoms end and hands their jobs back; a second one ends at once. SIGHUP reloads
the plugins.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--processes", type=positive, metavar="N", help="worker processes (default: one for each core)"
    )
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="jobs that each of them runs at once (default: 16)"
    )
    parser.add_argument(
        "--max-running",
        type=positive,
        metavar="N",
        help="jobs that this node runs at once (default: no other limit)",
    )
    parser.add_argument("--name", metavar="NAME", help="the node's name (default: the host's)")
    parser.add_argument(
        "--lease", type=duration, metavar="TIME", help="how long a dead machine keeps its jobs (default: 10s)"
    )
    parser.add_argument(
        "--grace", type=duration, metavar="TIME", help="how long running atoms may take to end (default: 30s)"
    )
    parser.add_argument(
        "--label", action="append", metavar="LABEL",
        help="a label of the node, a name or name=value, for post --on label=LABEL; can be repeated",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="end when there is nothing left to do")
    return parser


def run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGHUP, _nothing_to_load_again)
    from jobrunner.assemble import run_conductor
    from jobrunner.cli.logging_setup import set_up_logging

    flags = {
        f"conductor.{key}": getattr(args, key)
        for key in ("processes", "jobs", "max_running", "name", "lease", "grace")
    }
    flags["conductor.labels"] = args.label
    config = load_config(args, flags).config
    set_up_logging(args.verbose, always=True)
    return run_conductor(config, once=args.once)


def _nothing_to_load_again(number: int, frame: FrameType | None) -> None:
    """Until there is a supervisor who heeds it: plugins are about to be loaded anyway, and it must not end this."""
