"""``post_job``: how plugins of the classic form, and programs, post a job.

On behalf of the command line (``jobrunner post <type>``) a posting takes over what the command's own options say, and
its id is printed; a program that calls it gets the id and nothing is printed.
"""

from __future__ import annotations

import abc
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Posting
    from jobrunner.plugins.registry import JobType


class PostingDesk(abc.ABC):
    """On whose behalf ``post_job`` posts."""

    @abc.abstractmethod
    def context(self) -> JobContext:
        """The context to post with."""

    @abc.abstractmethod
    def post(self, context: JobContext, posting: Posting) -> str | None:
        """Post it; the job's id, or None if it is posted later, together with others."""

    @abc.abstractmethod
    def show(self, job_type: JobType, posting: Posting) -> None:
        """Print the flow that the posting would run, as a tree."""

    @property
    def shows(self) -> bool:
        """Whether everything is to be shown rather than posted."""
        return False

    @abc.abstractmethod
    def done(self, context: JobContext) -> None:
        """Called when the posting is done, or has failed."""


desk: ContextVar[PostingDesk | None] = ContextVar("posting_desk", default=None)
"""Set by the command line while a function of the classic form runs."""


def post_job(
    flow_factory: Callable[..., Any],
    store: Mapping[str, Any] | None = None,
    factory_args: Iterable[Any] | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
    capabilities: Iterable[str | Callable[..., Any]] = (),
    hierarchy: bool = False,
) -> str | None:
    """Post a job whose flow ``flow_factory`` makes; its id, or None if its flow was only shown.

    On behalf of a command that posts several jobs as one (``--then``, ``--on``) it is None too: the job is posted once
    all of them are known.

    The factory is called on the conductor with ``factory_args`` and ``factory_kwargs``; ``store`` is what the flow
    finds in its store. All three are JSON. The job runs where all ``capabilities`` are met. With ``hierarchy`` the flow
    is printed as a tree, and nothing is posted.

    Raises UnknownJobType, UnknownCapability, InvalidParameters, PostingTooLarge, InvalidFlow or StoreUnavailable; in a
    program also ConfigError and SchemaOutOfDate.
    """
    from jobrunner.plugins import classic_posting

    behalf = desk.get() or _Program()
    context = behalf.context()
    try:
        posting = classic_posting(
            context.registry, flow_factory, store, factory_args, factory_kwargs, capabilities
        )
        if hierarchy or behalf.shows:
            behalf.show(context.registry.get_type(posting.type), posting)
            return None
        return behalf.post(context, posting)
    finally:
        behalf.done(context)


class _Program(PostingDesk):
    """A Python program: the configuration is read as the command line would, and nothing is printed."""

    def context(self) -> JobContext:
        from jobrunner.assemble import make_context
        from jobrunner.config import load_config

        return make_context(load_config().config)

    def post(self, context: JobContext, posting: Posting) -> str | None:
        from jobrunner.jobs import post

        return post.post(context, posting).job_id

    def show(self, job_type: JobType, posting: Posting) -> None:
        from jobrunner.plugins import render

        sys.stdout.write(render(job_type.build(posting.parameters, posting.factory)))

    def done(self, context: JobContext) -> None:
        context.close()


class _CallableModule(types.ModuleType):
    """Lets the module be called: once it is imported, ``from jobrunner import post_job`` gives the module."""

    def __call__(self, *args: Any, **kwargs: Any) -> str | None:
        return post_job(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
