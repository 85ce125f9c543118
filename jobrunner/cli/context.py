"""From a command's options to the parts that it works with."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobrunner.config import LoadedConfig
    from jobrunner.jobs.context import JobContext
    from jobrunner.plugins.registry import Registry


def load_config(args: argparse.Namespace, flags: Mapping[str, Any] | None = None) -> LoadedConfig:
    """The configuration, with the common options and ``flags`` (by ``section.key``) on top; raises ConfigError."""
    from jobrunner import config

    common = {"board.url": args.board_url, "persistence.url": args.persistence_url}
    return config.load_config(args.config, flags={**common, **(flags or {})})


@contextlib.contextmanager
def open_context(args: argparse.Namespace) -> Iterator[JobContext]:
    """The use cases' context for the time of a command; raises ConfigError, StoreUnavailable or SchemaOutOfDate."""
    from jobrunner.assemble import make_context

    context = make_context(load_config(args).config)
    try:
        yield context
    finally:
        context.close()


def load_registry(args: argparse.Namespace) -> Registry:
    """The job types, without going near a database."""
    from jobrunner.assemble import make_registry

    return make_registry(load_config(args).config)
