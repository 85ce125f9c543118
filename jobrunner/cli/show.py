"""``jobrunner show [ID...]``: jobs and their atoms, live."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json, duration, positive
from jobrunner.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext

WIDTH_WITHOUT_TERMINAL = 160
LEAST_INTERVAL_S = 0.1

DESCRIPTION = """\
Watch jobs and their atoms, live: those that are open, and the last that ended.

With ids only those jobs, until all of them have ended. Ctrl-C ends the watching, not the jobs. Where stdout is no
terminal it is printed once.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "show", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="*", help="only these jobs")
    parser.add_argument("--once", action="store_true", help="print how things are now, and end")
    parser.add_argument(
        "--ended", type=positive, metavar="N", default=10, help="how many ended jobs are shown (default: 10)"
    )
    parser.add_argument(
        "--attempt", type=positive, metavar="N", help="these jobs as their attempt N ended, once"
    )
    parser.add_argument(
        "--interval", type=duration, metavar="TIME", default=0.5, help="how often to look (default: 0.5s)"
    )
    add_json(parser, "print how things are now as JSON, and end")
    return parser


def run(args: argparse.Namespace) -> int:
    with open_context(args) as context:
        from jobrunner.jobs import look

        ids = list(dict.fromkeys(look.find(context, prefix).id for prefix in args.ids))
        if args.attempt is not None and not ids:
            raise UsageError(
                "Attempts are a job's.", hint="Give its id as well: jobrunner show ID --attempt N"
            )
        if args.json or args.once or args.attempt is not None or not output.is_terminal():
            return _once(context, ids, args)
        return _live(context, ids, args)


def _once(context: JobContext, ids: Sequence[str], args: argparse.Namespace) -> int:
    from jobrunner.cli.snapshot import Watcher

    snapshot = Watcher(context, ids=ids, ended=args.ended, attempt=args.attempt).look()
    if snapshot.away is not None:
        from jobrunner.errors import StoreUnavailable

        raise StoreUnavailable(snapshot.away)
    if args.json:
        output.print_json(snapshot.to_json())
        return EXIT_OK
    from jobrunner.cli.frame import Size, frame

    console = output.console(width=None if output.is_terminal() else WIDTH_WITHOUT_TERMINAL)
    lines = frame(snapshot, now_ms=snapshot.at_ms, size=Size(width=console.width))
    for line in lines.split("\n"):
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    return EXIT_OK


def _live(context: JobContext, ids: Sequence[str], args: argparse.Namespace) -> int:
    from jobrunner.cli.live import watch
    from jobrunner.cli.snapshot import Watcher

    watcher = Watcher(context, ids=ids, ended=args.ended)
    watch(watcher, interval=max(LEAST_INTERVAL_S, args.interval), until_ended=bool(ids))
    return EXIT_OK
