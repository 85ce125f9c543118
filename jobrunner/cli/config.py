"""``jobrunner config``: every key with its value, where it came from, and what it is for."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobrunner.cli import options, output, text
from jobrunner.errors import EXIT_NOT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from jobrunner.config import LoadedConfig

SHOW = """\
Print the configuration in force, as a file that jobrunner could read: every key with its value, and in a comment what
it is for and where the value came from: a file, a variable, or a flag. Passwords are hidden."""
PATH = "Print the path of the configuration file that is read."
DEFAULT = "default"
HIDDEN = "***"
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "config", help="show the configuration", description="Look at the configuration."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print every key, its value and its origin", description=SHOW)
    options.add_json(show)
    actions.add_parser(
        "path",
        help="print the path of the file that is read",
        description=PATH,
        epilog="Exits with 3 if there is none.",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    return path(args) if args.action == "path" else show(args)


def show(args: argparse.Namespace) -> int:
    from jobrunner.cli.context import load_config

    entries = list(entries_of(load_config(args)))
    if args.json:
        output.print_json([asdict(entry) for entry in entries])
    else:
        print("\n".join(toml_lines(entries)))
    return EXIT_OK


def path(args: argparse.Namespace) -> int:
    import os

    from jobrunner.config import find_file, places

    file = find_file(args.config, os.environ)
    if file is None:
        looked = ", ".join(str(place) for place in places(os.environ))
        output.say(f"There is no configuration file, so everything has its default. Looked for {looked}.")
        return EXIT_NOT_FOUND
    print(text.clean(file.absolute()))
    return EXIT_OK


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One key. ``value`` is fit to be printed: what is secret in it is hidden."""

    key: str
    value: Any
    origin: str
    description: str


def entries_of(loaded: LoadedConfig) -> Iterator[Entry]:
    """Every key that there is, in the order of the sections."""
    for section, content in loaded.config:
        for name, field in type(content).model_fields.items():
            key = f"{section}.{name}"
            yield Entry(
                key=key,
                value=_printable(name, getattr(content, name)),
                origin=loaded.origins.get(key, DEFAULT),
                description=field.description or "",
            )


def toml_lines(entries: list[Entry]) -> Iterator[str]:
    """The entries as TOML; a key without a value is a comment, as TOML has no word for nothing."""
    for number, (section, content) in enumerate(groupby(entries, lambda entry: entry.key.partition(".")[0])):
        if number:
            yield ""
        yield output.styled(f"[{section}]", "bold")
        for entry in content:
            name = entry.key.partition(".")[2]
            yield output.styled(f"# {text.clean(entry.description)}", "dim")
            line = f"# {name} =" if entry.value is None else f"{name} = {_toml(entry.value)}"
            yield f"{line}  {output.styled(f'# {text.clean(entry.origin)}', 'dim')}"


def _printable(name: str, value: Any) -> Any:
    if value is not None and "password" in name:
        return HIDDEN
    if isinstance(value, str) and "://" in value:
        from jobrunner.passwords import hide_password

        return hide_password(value)
    if isinstance(value, tuple):
        return [_printable_item(item) for item in value]
    if isinstance(value, dict):
        return {key: _printable_item(item) for key, item in value.items()}
    return value


def _printable_item(item: Any) -> Any:
    if isinstance(item, Path):
        return str(item)
    return item.model_dump(exclude_none=True) if hasattr(item, "model_dump") else item


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        parts = [f"{_toml_key(key)} = {_toml(part)}" for key, part in value.items()]
        return f"{{ {', '.join(parts)} }}" if parts else "{}"
    # JSON's text and numbers are TOML's; only DEL has to be escaped beyond what JSON asks for.
    return json.dumps(value).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _toml(key)
