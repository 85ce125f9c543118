"""``post --file FILE``: many jobs, each a JSON object in a line.

A line has a ``type``, its ``parameters`` (for the classic form: ``arguments``, a list of words), a ``name`` by which
lines behind it can come ``after`` it and refer to its result, and options of ``post`` by their long names. Options on
the command line hold for the lines that do not say otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.post_lines import LineReader
from jobrunner.errors import EXIT_OK, EXIT_USAGE, JobrunnerError, StoreUnavailable, UsageError
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.many import check_all, in_words, post_in_batches
from jobrunner.jobs.post import Posted
from jobrunner.model import Posting

LINES_LIMIT = 100_000
SHOWN_PROBLEMS = 20


@dataclass
class Lines:
    """What was read: the postings, the line of each, and what is wrong with lines that make none."""

    postings: list[Posting] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """As people count lines."""
    problems: dict[int, str] = field(default_factory=dict)
    """By the line's number."""


def post_file(args: argparse.Namespace) -> int:
    """Post the jobs of ``args.file``, if all of its lines are fine; the exit code."""
    _refuse_what_is_for_one(args)
    content = _read(args.file)
    with open_context(args) as context:
        lines = read_lines(context, args, content)
        for place, problem in check_all(context, lines.postings).items():
            lines.problems.setdefault(lines.numbers[place], problem)
        if lines.problems:
            return _tell_problems(lines)
        if not lines.postings:
            raise UsageError("There is no line with a job.", hint='A line looks like {"type": "greet"}')
        return _post_set(context, lines, args) if args.jobset else _post(context, lines, args)


def read_lines(context: JobContext, args: argparse.Namespace, content: str) -> Lines:
    """The postings that the lines ask for; empty lines count, and are no jobs."""
    reader, lines = LineReader(context, args), Lines()
    for number, line in _numbered(content):
        try:
            made = reader.postings_of(number, line, len(lines.postings))
        except StoreUnavailable:
            raise
        except JobrunnerError as error:
            lines.problems[number] = in_words(error)
            continue
        lines.postings += made
        lines.numbers += [number] * len(made)
    return lines


def _refuse_what_is_for_one(args: argparse.Namespace) -> None:
    given = {"TYPE": args.type, "--hierarchy": args.hierarchy, "--on": args.on, "--after": args.after}
    for name, value in given.items():
        if value:
            raise UsageError(
                f"With --file there is no {name}.",
                hint="What each job is, its own line says; see the how-to.",
            )
    if args.set_hold and not args.jobset:
        raise UsageError("--set-hold is for a set.", hint="Make one of the file's jobs: --jobset NAME.")


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(os.path.expanduser(file)).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file} is not UTF-8 text: line {line:,}.") from None


def _numbered(content: str) -> Iterator[tuple[int, str]]:
    lines = content.split("\n")
    if len(lines) > LINES_LIMIT + 1:
        raise UsageError(f"There are {len(lines):,} lines; at most {LINES_LIMIT:,} are posted at once.")
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _tell_problems(lines: Lines) -> int:
    numbers = sorted(lines.problems)
    for number in numbers[:SHOWN_PROBLEMS]:
        output.say(f"line {number:,}: {text.clean(lines.problems[number])}")
    more = len(numbers) - SHOWN_PROBLEMS
    output.say(
        (f"... and {more:,} more lines; " if more > 0 else "")
        + f"nothing was posted, since {len(numbers):,} {'line is' if len(numbers) == 1 else 'lines are'} not fine."
    )
    return EXIT_USAGE


def _post_set(context: JobContext, lines: Lines, args: argparse.Namespace) -> int:
    from jobrunner.cli.posted import finish_set
    from jobrunner.jobs.jobsets import post_set

    author = lines.postings[0].author
    posted = post_set(context, lines.postings, name=args.jobset, author=author, holds=args.set_hold)
    return finish_set(context, posted, args)


def _post(context: JobContext, lines: Lines, args: argparse.Namespace) -> int:
    posted: list[Posted] = []
    try:
        for some in post_in_batches(context, lines.postings):
            posted += some
            if not args.json:
                print(*(one.job_id for one in some), sep="\n", flush=True)
    except (JobrunnerError, KeyboardInterrupt):
        last = f", up to line {lines.numbers[len(posted) - 1]:,}" if posted else ""
        output.say(
            f"{len(posted):,} of {len(lines.postings):,} jobs were posted{last}; those with keys can be posted again."
        )
        raise
    if args.json:
        output.print_json(
            [
                {"line": number, "id": one.job_id, "new": one.new}
                for number, one in zip(lines.numbers, posted, strict=True)
            ]
        )
    new = sum(one.new for one in posted)
    known = len(posted) - new
    output.say(f"{new:,} jobs posted" + (f"; {known:,} were there already, by their keys." if known else "."))
    return _wait(context, posted) if args.wait or args.follow else EXIT_OK


def _wait(context: JobContext, posted: list[Posted]) -> int:
    from jobrunner.cli.waiting import tell_ends, wait_for

    return tell_ends(wait_for(context, list(dict.fromkeys(one.job_id for one in posted))))
