"""Doing one thing to several jobs: one that cannot be done does not keep the others from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import require_ids
from jobrunner.errors import EXIT_OK, JobrunnerError, StoreUnavailable

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

Record = dict[str, object]
"""What ``--json`` prints of a job."""
Act = Callable[["JobContext", "Job"], tuple[Record, str]]
"""Does it to a job; its record, and what is said of the job."""

UNTIL_ENDED = "wait until they have ended; 1 if one did not succeed"


def add_ids_parser(subparsers: Any, command: str, description: str, *, jobs: str) -> argparse.ArgumentParser:
    """A parser for a command that takes ids; ``jobs`` are the words of which jobs' ids."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        command, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help=f"{jobs}; - reads ids from stdin")
    return parser


def add_wait(parser: argparse.ArgumentParser, words: str = UNTIL_ENDED) -> None:
    """The option for which :func:`for_each` looks."""
    parser.add_argument("--wait", action="store_true", help=words)


def for_each(args: argparse.Namespace, act: Act) -> int:
    """Act on each of ``args.ids``; the exit code of the first error, after all of them, or of waiting for their ends.

    With ``args.wait`` waits for the ends of those on which it acted.
    """
    with open_context(args) as context:
        from jobrunner.jobs import look

        def found(prefix: str) -> Record:
            job = look.find(context, prefix)
            record, words = act(context, job)
            if not args.json:
                output.say(f"job {job.short_id} {words}")
            return record

        code, done = for_each_id(args.ids, found)
        if args.json:
            output.print_json(done)
        if args.wait and done:
            code = code or _wait(context, [str(record["id"]) for record in done], args)
    return code


def for_each_id(given: Sequence[str], act: Callable[[str], Record]) -> tuple[int, list[Record]]:
    """Act on each of the ids as people gave them; the exit code of the first error, and the records of the others."""
    code = EXIT_OK
    done: list[Record] = []
    for one in require_ids(given):
        try:
            done.append(act(one))
        except StoreUnavailable:
            raise
        except JobrunnerError as error:
            output.say_error(error)
            code = code or error.exit_code
    return code, done


def _wait(context: JobContext, ids: list[str], args: argparse.Namespace) -> int:
    from jobrunner.cli.waiting import end_in_words, tell_ends, wait_for
    from jobrunner.model import JobState

    jobs = wait_for(context, ids)
    wanted = JobState.CANCELLED if args.command == "cancel" else JobState.SUCCEEDED
    missed = [job for job in jobs if job.state is not wanted]
    if wanted is JobState.SUCCEEDED:
        return tell_ends(jobs)
    for job in missed:
        output.say(end_in_words(job))
    return 1 if missed else EXIT_OK
