"""``jobrunner demo``: a job survives the death of its conductor, before the eyes of whoever wants to see it.

- What is shown was checked: each claim is compared with what the store, the processes and the archive say.
- It works on a store of its own, or on an empty one that is named; it never touches other people's jobs.
- Its conductors end with it, however it ends; so does its directory, unless ``--keep`` is given.

Read story.py for what happens, evidence.py for what is checked.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from jobrunner.cli import options
from jobrunner.errors import EXIT_JOB_FAILED, EXIT_OK

DESCRIPTION = """\
See a job survive the death of its conductor. Starts two conductors, posts a backup of a directory, kills the conductor
that runs it with SIGKILL in the middle of the flow, and shows how the other one resumes at the atom where the first
stopped. Takes some ten seconds and needs no server: everything happens in a temporary directory."""
EPILOG = """\
With --config, --board-url or --persistence-url the demo runs on those servers; their database must have no open jobs
and no living conductors. Exits with 0 only if everything that was checked is true."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("demo", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="the directory to back up (default: jobrunner itself)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the temporary directory with all that is in it"
    )
    options.add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.cli.demo import report
    from jobrunner.cli.demo.evidence import examine
    from jobrunner.cli.demo.source import find_source
    from jobrunner.cli.demo.stage import Stage
    from jobrunner.cli.demo.story import tell
    from jobrunner.cli.demo.view import View

    source = find_source(args.directory)
    with ExitStack() as exits:
        exits.enter_context(_signals_end_it())
        stage = exits.enter_context(Stage(args, source))
        view = exits.enter_context(View())
        story = tell(stage, source, view)
        view.close()
        stage.stop()
        evidence = examine(story)
        report.print_report(story, evidence, stage, as_json=args.json)
    return EXIT_OK if evidence.holds else EXIT_JOB_FAILED


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: everything is cleaned up on the way."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
