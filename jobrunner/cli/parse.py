"""Parsing for plugins of the classic form."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Sequence

from jobrunner.cli.logging_setup import set_up_logging


def parse_arguments(parser: argparse.ArgumentParser, args: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse ``args`` (the program's own, if None) with ``--verbose`` and ``--hierarchy`` added; sets up logging.

    ``args.hierarchy`` is what ``post_job`` takes as its ``hierarchy``.
    """
    # A plugin that defines one of them for itself keeps its own.
    with contextlib.suppress(argparse.ArgumentError):
        parser.add_argument("-v", "--verbose", action="count", default=0, help="log what is done to stderr")
    with contextlib.suppress(argparse.ArgumentError):
        parser.add_argument(
            "--hierarchy", action="store_true", help="print the flow as a tree rather than post it"
        )
    namespace = parser.parse_args(args)
    for name in ("verbose", "hierarchy"):
        if not hasattr(namespace, name):
            setattr(namespace, name, False)
    if namespace.verbose or not logging.getLogger().handlers:  # the command line may have set it up already
        set_up_logging(int(namespace.verbose))
    return namespace
