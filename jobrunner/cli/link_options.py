"""The options of ``post`` that say what else is posted, and what a job comes after."""

from __future__ import annotations

import argparse
from typing import Any

from jobrunner.model import When


class _Then(argparse.Action):
    """Parts are told apart before anything is parsed, so this sees only what stands where no part can begin."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        parser.error("--then stands between two job types: TYPE [options] --then TYPE [options]")


def condition(text: str) -> When:
    """On which end of another job one is run."""
    try:
        return When(text.strip().lower().replace("_", "-"))
    except ValueError:
        names = ", ".join(when.value for when in When)
        raise argparse.ArgumentTypeError(f"{text!r} is no condition; there are {names}") from None


def add_link_options(group: Any, default: dict[str, Any], collected: dict[str, Any]) -> None:
    """Add ``--after`` and ``--when``, ``--on`` and ``--then``."""
    on_success = default or {"default": When.SUCCESS}
    group.add_argument(
        "--after", metavar="ID", help="run it after these jobs (ID,ID ...) have ended; can be repeated", **collected
    )  # fmt: skip
    group.add_argument(
        "--when", type=condition, metavar="HOW", help="success (the default), failure or always: run it only if those "
        "ended so", **on_success,
    )  # fmt: skip
    group.add_argument(
        "--on-failure", dest="when", action="store_const", const=When.FAILURE, help="the same as --when failure",
        **on_success,
    )  # fmt: skip
    group.add_argument(
        "--on", metavar="NODES", help="one job for each of these nodes: NODE,NODE, label=LABEL, or all", **collected
    )  # fmt: skip
    group.add_argument(
        "--then", nargs=0, action=_Then, help="after it another job: TYPE [options] follow", **default
    )
