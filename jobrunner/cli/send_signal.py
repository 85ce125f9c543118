"""``jobrunner signal ID NAME [JSON]``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json
from jobrunner.cli.post_options import label, user
from jobrunner.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from jobrunner.jobs.signals import Signalled
    from jobrunner.model import Job

DESCRIPTION = """\
Send a signal to a job: a task of it that waits for that goes on; if none does yet, the signal waits for it.

The data is any JSON; the task gets it. Signals of one name are taken in the order in which they were sent.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "signal", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("id", metavar="ID", help="the job's id, or the start of it")
    parser.add_argument("name", metavar="NAME", help="the signal's name, for instance approve")
    parser.add_argument(
        "data",
        metavar="JSON",
        nargs="?",
        default="null",
        help="""what to tell: '{"by": "Ada"}'; - reads it from stdin; default: null""",
    )
    parser.add_argument(
        "--key", type=label, metavar="KEY", help="send it once: the same key sends nothing again"
    )
    parser.add_argument("--author", type=label, metavar="NAME", help="who sends it (default: you)")
    add_json(parser, "print what became of it as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    data = _parsed(sys.stdin.read() if args.data == "-" else args.data)
    with open_context(args) as context:
        from jobrunner.jobs import look, signals

        job = look.find(context, args.id)
        sent = signals.signal(context, job, args.name, data, key=args.key, author=args.author or user())
    if args.json:
        output.print_json(
            {"id": job.id, "name": args.name, "new": sent.new, "woken": sent.woken, "state": sent.state.value}
        )
    else:
        output.say(_in_words(job, args.name, sent))
    return EXIT_OK


def _parsed(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"The data of the signal is not JSON: {error}.",
            hint='Text needs quotes of its own: \'"yes"\'. Several values: \'{"by": "Ada", "copies": 3}\'.',
        ) from None


def _in_words(job: Job, name: str, sent: Signalled) -> str:
    if not sent.new:
        return (
            f"the signal {name} was sent to job {job.short_id} before, under this key; nothing was sent now."
        )
    if sent.woken:
        return f"job {job.short_id} got the signal {name}, and goes on."
    return f"job {job.short_id} got the signal {name}; it is kept until a task of the job asks for it."
