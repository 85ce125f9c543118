"""``jobrunner prune``: delete finished jobs that are not kept any longer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json, duration, job_state, whole_number
from jobrunner.errors import EXIT_OK, UsageError
from jobrunner.model import TERMINAL_STATES, JobState

if TYPE_CHECKING:
    from jobrunner.jobs.remove import Pruned

DESCRIPTION = """\
Delete finished jobs with all that is recorded of them: those that ended longer ago than --older-than, but never the
newest --keep of each type and state. With neither, those that the configuration's [retention] does not keep.

They are deleted in small batches, oldest first; interrupting it does no harm. A job that open jobs come after, or have
in their jobset, stays.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "prune", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell how many would be deleted")
    parser.add_argument(
        "--older-than",
        type=duration,
        metavar="TIME",
        help="only jobs that ended longer ago, for instance 30d",
    )
    parser.add_argument(
        "--keep", type=whole_number, metavar="N", help="never the newest N of each type and state"
    )
    parser.add_argument(
        "--state", type=job_state, action="append", metavar="STATE", default=[],
        help="only jobs that ended in this state; can be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--type", action="append", metavar="TYPE", default=[], help="only jobs of this type; can be repeated"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import remove

    states = finished_states(args.state)
    done: list[Pruned] = []
    with open_context(args) as context:
        pruned = remove.prune(
            context,
            older_than=args.older_than,
            keep=args.keep,
            states=states,
            types=args.type,
            dry_run=args.dry_run,
        )
        for one in pruned:
            done.append(one)
            if not args.json and (one.removed or one.needed):
                output.say(_in_words(one, dry_run=args.dry_run))
    if args.json:
        output.print_json([_record(one) for one in done if one.removed or one.needed])
    else:
        total = sum(one.removed for one in done)
        output.say(f"{total:,} jobs {'would be deleted' if args.dry_run else 'were deleted'}.")
    return EXIT_OK


def finished_states(words: list[str]) -> list[JobState]:
    """The states that the words name; raises UsageError for one in which a job has not ended."""
    from jobrunner.cli.list import expand_states

    states = expand_states(words)
    wrong = [state for state in states if state not in TERMINAL_STATES]
    if wrong:
        raise UsageError(
            f"Jobs that are {wrong[0]} have not ended, so they are not pruned.",
            hint="`jobrunner delete` deletes a job in any state.",
        )
    return states


def _in_words(one: Pruned, *, dry_run: bool) -> str:
    line = (
        f"{one.kind.type}, {one.kind.state}: {one.removed:,} {'would be deleted' if dry_run else 'deleted'}"
    )
    return f"{line}, {one.needed:,} kept, since open jobs need them" if one.needed else line


def _record(one: Pruned) -> dict[str, object]:
    return {
        "type": one.kind.type,
        "state": one.kind.state.value,
        "removed": one.removed,
        "needed": one.needed,
    }
