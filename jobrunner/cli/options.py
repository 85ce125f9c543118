"""The parser's class, the options that all commands share, and the types of their values.

Only the standard library is imported here: help and man pages are made from these parsers without anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jobrunner.cli.text import clean_lines
from jobrunner.errors import EXIT_USAGE, UsageError
from jobrunner.times import LONGEST_S

COMMON: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--config",), {"metavar": "FILE", "help": "read the configuration from FILE"}),
    (("--board-url",), {"metavar": "URL", "help": "where jobs wait; overrides board.url"}),
    (("--persistence-url",), {"metavar": "URL", "help": "the database; overrides persistence.url"}),
    (("-v", "--verbose"), {"action": "count", "help": "log what is done to stderr; twice for all details"}),
)

SHOWN_CHOICES = 12
LARGEST = 2**53
"""No number that counts is larger: every database, and every program that reads JSON, holds it as it is."""
SPELLED_OUT = "--hierarchy=tree"
"""What ``--hierarchy`` alone means."""


class Parser(argparse.ArgumentParser):
    """argparse's parser, with options never abbreviated, and errors that say what to do next."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        super().__init__(*args, **settings)
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, and remember what was given, for :meth:`error`."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        """As argparse does; but what keeps it from being printed is raised."""
        print(self.format_help(), end="", file=file or sys.stdout)

    def error(self, message: str) -> NoReturn:
        words = _with_suggestion(self._slip(message) or message, self)
        self.exit(
            EXIT_USAGE, f"{self.prog}: {clean_lines(words)}\n  `{self.prog} --help` tells what there is.\n"
        )

    def _slip(self, message: str) -> str | None:
        """An option that is none, where argparse says only what is missing: often the one was meant as the other."""
        if not message.startswith("the following arguments are required"):
            return None
        words = itertools.takewhile(lambda word: word != "--", self._given)
        names = (word.partition("=")[0] for word in words if word.startswith("--"))
        unknown = next((name for name in names if name not in self._option_string_actions), None)
        return unknown and f"unrecognized arguments: {unknown}"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has. They leave nothing in the namespace unless they are given."""
    group = parser.add_argument_group("common options")
    for names, settings in COMMON:
        # A command that defines one of them for itself keeps its own.
        with contextlib.suppress(argparse.ArgumentError):
            group.add_argument(*names, default=argparse.SUPPRESS, **settings)


def add_json(parser: argparse.ArgumentParser, help: str = "print the data as JSON") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=help)


def empty_namespace() -> argparse.Namespace:
    """A namespace that has the common options as if none was given."""
    return argparse.Namespace(config=None, board_url=None, persistence_url=None, verbose=0)


# Types of values


def duration(text: str) -> float:
    """Seconds of what a person wrote: ``90s``, ``1h30m``."""
    from jobrunner.quantities import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than nothing")
    if seconds > LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is too long: {LONGEST_S:,} seconds (31 years) are the most"
        )
    return seconds


def some_time(text: str) -> float:
    """Seconds, more than none."""
    if seconds := duration(text):
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no time; without it there is no limit")


def positive(text: str) -> int:
    """A whole number above zero."""
    return whole_number(text, least=1, expected="a whole number above zero")


def whole_number(text: str, *, least: int = 0, expected: str = "a whole number, 0 or more") -> int:
    """A whole number."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    if number > LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is too large: {LARGEST:,} is the most")
    return number


def moment(text: str) -> int:
    """Milliseconds since the epoch of a time in ISO form (local, if it names no zone), or of that long ago (``2h``)."""
    with contextlib.suppress(argparse.ArgumentTypeError):
        return int((time.time() - duration(text)) * 1000)
    try:
        # Python 3.10 does not read the Z.
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError):  # also for the first and the last days that there are, in some zones
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-01-31T12:00 nor a duration such as 2h, which means that long ago"
        ) from None


def assignment(text: str) -> tuple[str, str]:
    """``name=value``."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    return name.strip(), value


def tag(text: str) -> tuple[str, str | None]:
    """``name=value``, or ``name`` alone, for any value."""
    name, separator, value = text.partition("=")
    if not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is neither name=value nor a name")
    return name.strip(), value if separator else None


def job_state(text: str) -> str:
    """A job's state in any case, or ``open`` or ``finished``; as it was meant."""
    from jobrunner.model import JobState

    word = text.strip().replace("-", "_")
    if word.lower() in ("open", "finished"):
        return word.lower()
    names = [state.value for state in JobState]
    if word.upper() in names:
        return word.upper()
    close = _closest(word.upper(), [*names, "OPEN", "FINISHED"])
    suggestion = f"; did you mean {close[0].lower()}?" if close else ""
    raise argparse.ArgumentTypeError(
        f"{text!r} is no state{suggestion} (there are open, finished, {', '.join(names).lower()})"
    )


def require_ids(ids: Sequence[str]) -> list[str]:
    """The ids, each once, in their order; ``-`` reads them from stdin. Raises UsageError if none is left."""
    given = [word for one in ids for word in (sys.stdin.read().split() if one == "-" else [one])]
    if not given:
        raise UsageError("No job was named.", hint="Give ids, or - to read them from stdin.")
    return list(dict.fromkeys(given))


def _with_suggestion(message: str, parser: Parser) -> str:
    """argparse's message, with what may have been meant."""
    known = parser._option_string_actions
    unknown = re.fullmatch(r"unrecognized arguments: (--[^\s=]+)(.*)", message)
    if unknown is not None:
        if unknown[1] in known:
            return f"{unknown[1]} is an option of this command, and has to stand behind it: {parser.prog} {unknown[1]}"
        close = _closest(unknown[1], known)
        return f"there is no option {unknown[1]}" + (f"; did you mean {close[0]}?" if close else "")
    invalid = re.fullmatch(r"argument (.*): invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if invalid is None:
        return message
    what, given, listed = invalid.groups()
    choices = [choice.strip(" '") for choice in listed.split(",")]
    close = _closest(given, choices)
    start = f"{what} cannot be {given!r}" if what.startswith("-") else f"there is no {what.lower()} {given!r}"
    if close:
        return f"{start}; did you mean {close[0]}?"
    more = " ..." if len(choices) > SHOWN_CHOICES else ""
    return f"{start} (there are {', '.join(choices[:SHOWN_CHOICES])}{more})"


def _closest(word: str, known: Iterable[str]) -> list[str]:
    """The one that was probably meant, or none; what finds it is not imported for nothing."""
    import difflib

    return difflib.get_close_matches(word, known, n=1)
