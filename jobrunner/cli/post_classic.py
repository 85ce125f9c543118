"""Posting through a function of the classic form, which parses its own arguments and calls ``post_job``."""

from __future__ import annotations

import argparse
import contextlib
import sys

from jobrunner.cli.context import open_context
from jobrunner.cli.options import SPELLED_OUT
from jobrunner.cli.post import finish, print_flow
from jobrunner.cli.post_options import adjusted
from jobrunner.cli.post_references import linked, referring
from jobrunner.errors import EXIT_OK, UsageError
from jobrunner.jobs import post
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import Posted
from jobrunner.model import Posting
from jobrunner.plugins.registry import JobType
from jobrunner.post_job import PostingDesk, desk


def post_classic(args: argparse.Namespace, job_type: JobType) -> int:
    """Call the type's function with the arguments after its name; then print and wait as the options before it say."""
    with contextlib.ExitStack() as stack:
        behalf = _CommandLine(args, stack)
        _call(job_type, args, behalf)
        return finish(behalf.context(), behalf.posted, args) if behalf.posted else EXIT_OK


def asked_for(
    args: argparse.Namespace, job_type: JobType, *, refers: bool, context: JobContext | None = None
) -> list[Posting]:
    """What the type's function would post, to be posted together with others; with what the options before it say.

    :param refers: whether texts such as ``@1.port`` are results of other jobs
    :param context: if there is one already

    Raises UsageError if it posts nothing.
    """
    with contextlib.ExitStack() as stack:
        behalf = _Collector(args, stack, refers=refers, context=context)
        _call(job_type, args, behalf)
    if not behalf.postings:
        raise UsageError(
            f"{job_type.name} posts nothing with these arguments, so nothing can be posted with it, or after it.",
            hint="Post it alone to see what it does.",
        )
    return behalf.postings


def _call(job_type: JobType, args: argparse.Namespace, behalf: PostingDesk) -> None:
    token = desk.set(behalf)
    # The command's own --hierarchy was spelled out before anybody knew whose it is (main.py).
    rest = ["--hierarchy" if word == SPELLED_OUT else word for word in args.rest]
    before = sys.argv
    # What the function's parser calls itself in its help, and what it parses if it passes on no arguments.
    sys.argv = [f"jobrunner post {job_type.name}", *rest]
    try:
        job_type.run_classic(rest)
    finally:
        sys.argv = before
        desk.reset(token)


class _OnCommandLine(PostingDesk):
    """The command line: its context is opened when a posting is made."""

    def __init__(
        self, args: argparse.Namespace, stack: contextlib.ExitStack, context: JobContext | None = None
    ) -> None:
        self._args = args
        self._stack = stack
        self._context = context

    def context(self) -> JobContext:
        if self._context is None:
            self._context = self._stack.enter_context(open_context(self._args))
        return self._context

    def done(self, context: JobContext) -> None:
        """The context is closed with the command."""

    def asked(self, context: JobContext, posting: Posting) -> Posting:
        """The posting with what the command's options say."""
        return adjusted(posting, self._args, context.registry.get_type(posting.type))


class _CommandLine(_OnCommandLine):
    """Posts at once."""

    def __init__(self, args: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        super().__init__(args, stack)
        self.posted: list[Posted] = []

    @property
    def shows(self) -> bool:
        return self._args.hierarchy is not None

    def post(self, context: JobContext, posting: Posting) -> str | None:
        asked = self.asked(context, referring(posting) if self._args.after else posting)
        self.posted.append(post.post(context, linked(context, asked, self._args)))
        return self.posted[-1].job_id

    def show(self, job_type: JobType, posting: Posting) -> None:
        print_flow(job_type, posting, self._args.hierarchy or "tree")


class _Collector(_OnCommandLine):
    """Takes note of what is to be posted."""

    def __init__(
        self,
        args: argparse.Namespace,
        stack: contextlib.ExitStack,
        *,
        refers: bool,
        context: JobContext | None,
    ) -> None:
        super().__init__(args, stack, context)
        self._refers = refers
        self.postings: list[Posting] = []

    def post(self, context: JobContext, posting: Posting) -> str | None:
        self.postings.append(self.asked(context, referring(posting) if self._refers else posting))
        return None

    def show(self, job_type: JobType, posting: Posting) -> None:
        raise UsageError("--hierarchy draws one flow.", hint="Ask for it without --then and --on.")
