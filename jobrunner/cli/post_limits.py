"""The options of ``post`` that say what a run may use, and what they make of a posting's policies."""

from __future__ import annotations

import argparse
from typing import Any

from jobrunner.errors import UsageError
from jobrunner.policies import ISOLATIONS, RunLimits

NAMES = ("isolation", "memory", "dead_after", "dead_below", "run_as", "grace")


def add_limit_options(group: Any, default: dict[str, Any]) -> None:
    """Add them to a parser's group."""
    group.add_argument(
        "--isolation",
        choices=ISOLATIONS,
        help="process: run it in a process of its own, as it also is with each of these limits",
        **default,
    )
    group.add_argument(
        "--memory", metavar="SIZE", help="end it if its processes have more in memory", **default
    )
    group.add_argument(
        "--dead-after", metavar="TIME", help="end it if it does next to nothing for so long", **default
    )
    group.add_argument(
        "--dead-below",
        type=float,
        metavar="PERCENT",
        help="what next to nothing is, of one processor (default: 1)",
        **default,
    )
    group.add_argument(
        "--run-as", metavar="USER[:GROUP]", help="run it as this user, where that is allowed", **default
    )
    group.add_argument(
        "--grace",
        metavar="TIME",
        help="what it has to stop in before it is killed, when it is cancelled or out of time (default: 10s)",
        **default,
    )


def limits_of(args: argparse.Namespace) -> RunLimits | None:
    """The limits that the options name, None if there are none; raises UsageError."""
    given = {name: getattr(args, name) for name in NAMES}
    if all(value is None for value in given.values()):
        return None
    from jobrunner.plugins.run_limits import run_limits

    try:
        return run_limits(**given)
    except ValueError as error:
        raise UsageError(
            f"These limits cannot be: {error}.", hint="`jobrunner post --help` tells more."
        ) from None
