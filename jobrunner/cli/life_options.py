"""The options of ``post`` that say when a job starts, and what follows if it ends badly."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobrunner.errors import UsageError
from jobrunner.policies import NO_POLICIES, Policies, RetryPolicy

if TYPE_CHECKING:
    from jobrunner.jobs.moments import When

CRITICAL = "critical"
"""In the place of a priority."""


def add_when_options(group: Any, default: dict[str, Any]) -> None:
    """Add ``--at``, ``--zone``, ``--delay`` and ``--expires``."""
    from jobrunner.cli.options import duration

    group.add_argument(
        "--at", metavar="TIME", help="run it then: '2027-01-31 06:00 Europe/Berlin', 18:30, 'tomorrow 6:00'", **default
    )  # fmt: skip
    group.add_argument(
        "--zone", metavar="ZONE", help="the time zone of times that name none (default: the machine's)", **default
    )  # fmt: skip
    group.add_argument(
        "--delay", type=duration, metavar="TIME", help="run it after so long, for instance 10m", **default
    )
    group.add_argument(
        "--expires", metavar="TIME", help="not to be started after that: a time, or how long it may wait", **default
    )  # fmt: skip


def add_retry_options(group: Any, default: dict[str, Any]) -> None:
    """Add ``--critical``, ``--retry`` and what goes with it."""
    group.add_argument(
        "--critical", action="store_true",
        help="highest priority, and retried up to 3 times whatever its type says", **default,
    )  # fmt: skip
    group.add_argument(
        "--retry", type=_times, metavar="N", help="if it ends badly, run it again up to N times", **default
    )
    group.add_argument(
        "--retry-delay", metavar="TIME", help="the pause before the first retry (default: 10s)", **default
    )
    group.add_argument(
        "--retry-backoff", metavar="HOW", help="pauses that are fixed, or exponential: doubled (default)", **default
    )  # fmt: skip
    group.add_argument(
        "--retry-on", metavar="STATES", help="retry only after these: failed,reverted,timed-out,dead", **default
    )  # fmt: skip


def when_of(args: argparse.Namespace) -> When:
    """When the job is to start and to expire; raises UsageError."""
    from jobrunner.jobs.moments import When, read_when

    if args.at is None and args.delay is None and args.expires is None:
        if args.zone is not None:
            raise UsageError(
                "A time zone was given, and no time.", hint="Give --at or --expires with --zone."
            )
        return When()
    return read_when(at=args.at, delay=args.delay, expires=args.expires, zone=args.zone)


def policies_of(args: argparse.Namespace, type_policies: Policies = NO_POLICIES) -> Policies:
    """The policies that the options ask for; raises UsageError.

    :param type_policies: its type's: what the options say of retries goes over the type's own
    """
    critical = args.critical or args.priority == CRITICAL
    if args.critical and args.priority not in (None, CRITICAL):
        raise UsageError(
            "A critical job has the highest priority.", hint="Leave --critical or --priority out."
        )
    return Policies(retry=_retry(args, type_policies.retry), critical=critical)


def _retry(args: argparse.Namespace, of_type: RetryPolicy | None) -> RetryPolicy | None:
    given = {"delay": args.retry_delay, "backoff": args.retry_backoff, "on": args.retry_on}
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if args.retry is None and not said:
        return None
    critical = args.critical or args.priority == CRITICAL
    times = (
        args.retry if args.retry is not None else of_type.attempts - 1 if of_type else 3 if critical else None
    )
    if times is None:
        raise UsageError("How often to retry was not said.", hint="Give --retry N as well.")
    if "on" in said:
        said["on"] = [name for name in said["on"].split(",") if name.strip()]
    made = _made(times, said)
    if of_type is None:
        return made
    fields = {"attempts": "attempts", "delay": "delay", "backoff": "factor", "on": "on"}
    return replace(of_type, **{fields[name]: getattr(made, fields[name]) for name in ("attempts", *said)})


def _made(times: int, said: dict[str, Any]) -> RetryPolicy:
    from jobrunner.plugins import retries

    try:
        return retries(times, **said)
    except ValueError as error:
        raise UsageError(
            f"The job cannot be retried like that: {error}.", hint="For instance: --retry 3 --retry-delay 1m"
        ) from None


def _times(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of retries")
    return int(text)
