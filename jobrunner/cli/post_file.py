"""``post --file FILE``: many jobs, each a JSON object in a line.

A line has a ``type``, its ``parameters`` (for the classic form: ``arguments``, a list of words), a ``name`` by which
lines behind it can come ``after`` it and refer to its result, and options of ``post`` by their long names. Options on
the command line hold for the lines that do not say otherwise.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.options import Parser
from jobrunner.cli.post_options import add_post_options, adjusted
from jobrunner.errors import EXIT_OK, EXIT_USAGE, JobrunnerError, StoreUnavailable, UsageError
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.many import check_all, in_words, post_in_batches
from jobrunner.jobs.post import Posted
from jobrunner.model import After, Posting
from jobrunner.references import Reference, has_references, replaced

OF_A_LINE = frozenset({"type", "parameters", "arguments", "name", "after"})
OF_THE_COMMAND = frozenset({"--wait", "--follow", "--hierarchy", "--json", "--then", "--on", "--after"})
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
    reader, lines = _Reader(context, args), Lines()
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


class _Reader:
    """Makes postings of lines; knows the names of those before."""

    def __init__(self, context: JobContext, args: argparse.Namespace) -> None:
        self._context = context
        self._args = args
        self._parser = _LineParser(prog="post", add_help=False)
        add_post_options(self._parser, again=True)
        self._places: dict[str, list[int]] = {}
        self._ids: dict[str, str] = {}

    def postings_of(self, number: int, line: str, place: int) -> list[Posting]:
        """The postings of a line, of which the first has this place; raises what is wrong with it."""
        said = _object(line)
        args = self._options(number, said)
        made = [self._linked(one, said, args) for one in self._asked(said, args)]
        if "name" in said:
            self._name(said["name"], list(range(place, place + len(made))))
        return made

    def _options(self, number: int, said: Mapping[str, Any]) -> argparse.Namespace:
        args = copy.copy(self._args)
        args.key = f"{args.key}:{number}" if args.key is not None else None
        self._parser.parse_args(
            [word for name, value in said.items() for word in self._words(name, value)], args
        )
        return args

    def _words(self, name: str, value: Any) -> Iterator[str]:
        """An option of ``post`` as it would be written on the command line."""
        if name in OF_A_LINE:
            return
        option = f"--{name.replace('_', '-')}"
        action = self._parser._option_string_actions.get(option)
        if action is None or option in OF_THE_COMMAND:
            raise UsageError(f"a line has no {name!r}")
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UsageError(f"{name!r} is true or false")
            yield from [option] if value else []
            return
        several = [f"{key}={_plain(one)}" for key, one in value.items()] if isinstance(value, dict) else value
        for one in several if isinstance(several, list) else [several]:
            if one is not None:
                yield f"{option}={_plain(one)}"

    def _asked(self, said: Mapping[str, Any], args: argparse.Namespace) -> list[Posting]:
        job_type = self._context.registry.get_type(_text(said, "type"))
        if not job_type.is_classic:
            if "arguments" in said:
                raise UsageError("'arguments' are for types of the classic form; this has 'parameters'")
            parameters = said.get("parameters", {})
            if not isinstance(parameters, dict):
                raise UsageError("'parameters' is a JSON object")
            return [adjusted(Posting(type=job_type.name, parameters=parameters), args, job_type)]
        from jobrunner.cli.post_classic import asked_for

        args.rest = said.get("arguments", [])
        if "parameters" in said or not _is_words(args.rest):
            raise UsageError("a type of the classic form has 'arguments', a list of words")
        try:
            return asked_for(args, job_type, refers=False, context=self._context)
        except SystemExit:
            raise UsageError(f"{job_type.name} does not take these arguments; it said why above") from None

    def _linked(self, posting: Posting, said: Mapping[str, Any], args: argparse.Namespace) -> Posting:
        named = said.get("after", [])
        named = [named] if isinstance(named, str) else named
        if not _is_words(named):
            raise UsageError("'after' is a list of names of lines before it, and of ids of jobs")
        after = dict.fromkeys(job for name in named for job in self._jobs(name))
        parameters = posting.parameters
        if has_references(parameters):
            parameters = replaced(parameters, self._reference)
        return replace(
            posting, after=tuple(After(job=job, when=args.when) for job in after), parameters=parameters
        )

    def _reference(self, found: Reference) -> Any:
        if not isinstance(found.job, str):
            raise UsageError(f"$result is the name of a line, or the id of a job, not {found.job!r}")
        made = [Reference(job, found.path).to_json() for job in self._jobs(found.job)]
        return made[0] if len(made) == 1 else made

    def _jobs(self, name: str) -> list[int] | list[str]:
        """The places of the jobs of the line of that name, or the id of the job whose id starts so."""
        if name in self._places:
            return self._places[name]
        if name not in self._ids:
            try:
                self._ids[name] = look.find(self._context, name).id
            except StoreUnavailable:
                raise
            except JobrunnerError:
                raise UsageError(
                    f"{name!r} is neither the name of a line before it nor the id of a job"
                ) from None
        return [self._ids[name]]

    def _name(self, name: Any, places: list[int]) -> None:
        if not isinstance(name, str) or not name.strip():
            raise UsageError("'name' is a text")
        if name in self._places:
            raise UsageError(f"a line before it has the name {name!r} already")
        self._places[name] = places


class _LineParser(Parser):
    """Raises what is wrong with a line's options: there are others to look at."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _refuse_what_is_for_one(args: argparse.Namespace) -> None:
    given = {"TYPE": args.type, "--hierarchy": args.hierarchy, "--on": args.on, "--after": args.after}
    for name, value in given.items():
        if value:
            raise UsageError(
                f"With --file there is no {name}.",
                hint="What each job is, its own line says; see the how-to.",
            )


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
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


def _object(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise UsageError('it is no JSON object such as {"type": "greet", "parameters": {"name": "Ada"}}')
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise UsageError(f"{name!r} is missing" if value is None else f"{name!r} is no text")
    return value


def _plain(value: Any) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise UsageError(f"{json.dumps(value)[:100]} cannot be the value of an option")
    return value if isinstance(value, str) else json.dumps(value)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


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
    return finish_set(context, post_set(context, lines.postings, name=args.jobset, author=author), args)


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
