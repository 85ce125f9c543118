"""Doing one thing to several jobs: one that cannot be done does not keep the others from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import require_ids
from jobrunner.errors import EXIT_OK, JobrunnerError, StoreUnavailable

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job

Act = Callable[["JobContext", "Job"], dict[str, object]]
"""Does it, says so, and returns what ``--json`` prints of it."""


def for_each(args: argparse.Namespace, act: Act) -> int:
    """Act on each of ``args.ids``; the exit code of the first error, after all of them, or of waiting for their ends.

    With ``args.wait`` waits for the ends of those on which it acted.
    """
    code = EXIT_OK
    done: list[dict[str, object]] = []
    with open_context(args) as context:
        from jobrunner.jobs import look

        for prefix in require_ids(args.ids):
            try:
                done.append(act(context, look.find(context, prefix)))
            except StoreUnavailable:
                raise
            except JobrunnerError as error:
                output.say_error(error)
                code = code or error.exit_code
        if args.json:
            output.print_json(done)
        if args.wait and done:
            code = code or _wait(context, [str(record["id"]) for record in done], args)
    return code


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
