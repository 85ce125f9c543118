"""A line of ``post --file`` and the postings that it asks for; what a line may say is told in post_file.py."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from jobrunner.cli.options import Parser
from jobrunner.cli.post_options import add_post_options, adjusted
from jobrunner.errors import JobrunnerError, StoreUnavailable, UsageError
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.model import After, Posting
from jobrunner.references import Reference, has_references, replaced

OF_A_LINE = frozenset({"type", "parameters", "arguments", "name", "after"})
OF_THE_COMMAND = frozenset({"--wait", "--follow", "--hierarchy", "--json", "--then", "--on", "--after"})


class LineReader:
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
