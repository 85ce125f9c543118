"""``jobrunner completion``: what a shell needs to complete jobrunner's commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from jobrunner.cli import output
from jobrunner.errors import EXIT_OK

DESCRIPTION = """\
Print the completion script of a shell. What is completed are commands, options, their choices, and file names."""
INSTALL = {
    "bash": "To use it: jobrunner completion bash > ~/.local/share/bash-completion/completions/jobrunner\n"
    "  and open a new shell (the package bash-completion has to be installed).",
    "zsh": "To use it: jobrunner completion zsh > ~/.zfunc/_jobrunner\n"
    "  with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc, and open a new shell.",
}
FILES = ("FILE", "PATH")
DIRECTORIES = ("DIR", "DIRECTORY")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "completion", help="print a shell's completion script", description=DESCRIPTION
    )
    parser.add_argument("shell", choices=sorted(INSTALL), help="the shell")
    return parser


def run(args: argparse.Namespace) -> int:
    import sys

    from jobrunner.cli.main import build_parser

    print(script(build_parser(), args.shell))
    if output.is_terminal(sys.stdout):
        print()
    output.say(INSTALL[args.shell])
    return EXIT_OK


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell."""
    import shtab

    for action in _actions(parser):
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for one in dict.fromkeys(action.choices.values()):
                yield from _actions(one)
