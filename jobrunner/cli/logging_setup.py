"""What is logged while a command runs, to stderr: warnings as messages, with -v more."""

from __future__ import annotations

import logging
import sys

from jobrunner.cli import text

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
NOISY = ("sqlalchemy", "alembic", "taskflow", "stevedore", "kazoo", "asyncio")
"""Libraries that tell more than a person wants; their warnings are shown at -v, all of it at -vv."""


class SafeFormatter(logging.Formatter):
    """A formatter whose lines cannot act on a terminal, whatever was logged."""

    def format(self, record: logging.LogRecord) -> str:
        return text.clean_lines(super().format(record))


def set_up_logging(verbose: int, *, always: bool = False) -> None:
    """Log to stderr: warnings; with -v also what is done, with -vv all details of everything.

    :param always: log what is done without -v too, with times: for what runs for long
    """
    handler = logging.StreamHandler(sys.stderr)
    with_times = bool(verbose) or always
    handler.setFormatter(SafeFormatter(FORMAT if with_times else "jobrunner: %(message)s"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose > 1 else logging.INFO if with_times else logging.WARNING)
    for name in NOISY:
        level = logging.DEBUG if verbose > 1 else logging.WARNING if verbose else logging.ERROR
        logging.getLogger(name).setLevel(level)
