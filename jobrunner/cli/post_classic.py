"""Posting through a function of the classic form, which parses its own arguments and calls ``post_job``."""

from __future__ import annotations

import argparse
import contextlib
import sys

from jobrunner.cli.context import open_context
from jobrunner.cli.post import finish, print_flow
from jobrunner.cli.post_chain import linked
from jobrunner.cli.post_options import SPELLED_OUT, adjusted
from jobrunner.errors import EXIT_OK
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
        return finish(behalf.context(), behalf.posted, args) if behalf.posted else EXIT_OK


class _CommandLine(PostingDesk):
    """The command line: its options count for each posting, and its context is opened when one is made."""

    def __init__(self, args: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self._args = args
        self._stack = stack
        self._context: JobContext | None = None
        self.posted: list[Posted] = []

    @property
    def shows(self) -> bool:
        return self._args.hierarchy is not None

    def context(self) -> JobContext:
        if self._context is None:
            self._context = self._stack.enter_context(open_context(self._args))
        return self._context

    def post(self, context: JobContext, posting: Posting) -> str:
        job_type = context.registry.get_type(posting.type)
        asked = linked(context, adjusted(posting, self._args, job_type), self._args)
        self.posted.append(post.post(context, asked))
        return self.posted[-1].job_id

    def done(self, context: JobContext) -> None:
        """The context is closed with the command."""

    def show(self, job_type: JobType, posting: Posting) -> None:
        print_flow(job_type, posting, self._args.hierarchy or "tree")
