"""``jobrunner limits``: how many jobs may hold a semaphore, and how many may start in a time."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobrunner.cli import options, output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.output import Column
from jobrunner.errors import EXIT_OK
from jobrunner.policies import ANY_NUMBER
from jobrunner.quantities import format_duration, parse_rate

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.jobs.limits import Limit, Rate

COLUMNS = (
    Column(title="NAME"),
    Column(title="HELD", right=True),
    Column(title="OF", right=True),
    Column(title="RATE"),
    Column(title="JOBS", right=True),
    Column(title="WAITING", right=True),
    Column(title="SET"),
)
SET = """\
Set a limit, or change it: so many units can be held of it (0: nobody starts any more; any: no limit), and so many jobs
that hold it may start in a time. It counts at once, for those who wait already too; who holds it keeps it. Names with a
meaning: type:TYPE is what all jobs of a type hold whose max_running or rate is given, tag:NAME=VALUE all jobs with that
tag, node:NAME all that run on that node. What is set goes before what the configuration's [limits] say, and that before
what jobs and types say."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("limits")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list the limits, and what is held and waited for",
        description="List the semaphores that have a limit, or are held or waited for.",
    )
    setting = actions.add_parser("set", help="set a limit, or change it", description=SET)
    setting.add_argument("name", metavar="NAME", help="the semaphore, as jobs name it")
    setting.add_argument(
        "count", metavar="COUNT", nargs="?", type=count, help="how many units it has, or any"
    )
    setting.add_argument(
        "--rate", type=rate, metavar="N/TIME", help="how many jobs may start in a time: 10/1m; or none"
    )
    deleting = actions.add_parser(
        "delete",
        help="forget a limit",
        description="Forget a limit: the semaphore is as it is configured, or else as the jobs say that hold it.",
    )
    deleting.add_argument("name", metavar="NAME", help="the semaphore")
    for action in (listing, setting, deleting):
        options.add_json(action)
    return parser


def count(text: str) -> int:
    """A number of units."""
    if text.strip().lower() == "any":
        return ANY_NUMBER
    if not text.strip().isdecimal() or int(text) > ANY_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of units, 0 or more, nor `any`")
    return int(text)


def rate(text: str) -> Rate:
    """``10/1m``, or ``none``."""
    from jobrunner.jobs.limits import NO_RATE, Rate

    if text.strip().lower() == "none":
        return NO_RATE
    try:
        starts, period = parse_rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Rate(starts=starts, period=period)


def run(args: argparse.Namespace) -> int:
    with open_context(args) as context:
        {"list": _list, "set": _set, "delete": _delete}[args.action](context, args)
    return EXIT_OK


def _list(context: JobContext, args: argparse.Namespace) -> None:
    from jobrunner.jobs import limits

    found = limits.list_limits(context)
    if args.json:
        output.print_json([limit_record(limit) for limit in found])
    elif found:
        output.print_table(COLUMNS, [_row(limit) for limit in found])
    else:
        output.say("No limit is set, and nothing is held. `jobrunner limits set NAME COUNT` sets one.")


def _set(context: JobContext, args: argparse.Namespace) -> None:
    from jobrunner.jobs import limits

    limit = limits.set_limit(context, args.name, count=args.count, rate=args.rate)
    if args.json:
        output.print_json(limit_record(limit))
    else:
        output.say(_in_words(limit))


def _delete(context: JobContext, args: argparse.Namespace) -> None:
    from jobrunner.jobs import limits

    limits.delete_limit(context, args.name)
    if args.json:
        output.print_json({"name": args.name})
    else:
        output.say(f"{text.clean(args.name)} is as it is configured, or else as the jobs say that hold it.")


def limit_record(limit: Limit) -> dict[str, object]:
    """A limit as JSON; no limit is null."""
    return {
        **asdict(limit),
        "count": None if limit.count >= ANY_NUMBER else limit.count,
        "starts": limit.starts or None,
        "period": limit.period or None,
    }


def _row(limit: Limit) -> list[output.Cell | str]:
    return [
        limit.name,
        str(limit.held),
        _count(limit),
        _rate(limit),
        str(limit.holders),
        str(limit.waiting),
        _set_by(limit),
    ]


def _set_by(limit: Limit) -> str:
    if limit.is_set:
        return "yes"
    return "by jobs" if limit.configured_by is None else f"configured by {text.clean(limit.configured_by)}"


def _count(limit: Limit) -> str:
    return "any" if limit.count >= ANY_NUMBER else str(limit.count)


def _rate(limit: Limit) -> str:
    return f"{limit.starts}/{format_duration(limit.period)}" if limit.starts else ""


def _in_words(limit: Limit) -> str:
    units = (
        "any number of units"
        if limit.count >= ANY_NUMBER
        else f"{limit.count} {'unit' if limit.count == 1 else 'units'}"
    )
    starts = f", and {limit.starts} starts in {format_duration(limit.period)}" if limit.starts else ""
    waiting = "1 job waits" if limit.waiting == 1 else f"{limit.waiting} jobs wait"
    return f"{text.clean(limit.name)} has {units}{starts}; {limit.held} held, {waiting}."
