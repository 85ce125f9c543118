"""The command ``jobrunner``: its parsers, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from jobrunner.cli import output
from jobrunner.cli.options import SPELLED_OUT, Parser, add_common, empty_namespace
from jobrunner.errors import (
    EXIT_INTERRUPTED,
    EXIT_JOB_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    JobrunnerError,
    UsageError,
)

EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that ended because nobody reads its output any more."""

TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LAST_STREAM = 2
"""The descriptor of stderr; below it those of stdin and stdout."""

GC_THRESHOLD = 50_000
"""Objects between two garbage collections; importing makes many and no garbage, so Python's 700 costs a tenth of it."""

COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("run", "run", "run a conductor: claim jobs and run them"),
    ("post", "post", "post a job"),
    ("show", "show", "watch jobs and their atoms live"),
    ("list", "list", "list jobs, newest first"),
    ("status", "status", "tell all about one job"),
    ("logs", "logs", "print what a job's tasks printed and logged"),
    ("wait", "wait", "wait until jobs have ended"),
    ("cancel", "cancel", "cancel jobs"),
    ("suspend", "suspend", "suspend jobs until they are resumed"),
    ("resume", "resume", "let suspended jobs go on"),
    ("retry", "retry", "run jobs that ended badly again"),
    ("signal", "send_signal", "tell a job something that its flow waits for"),
    ("adopt", "adopt", "let half-done jobs go on with changed code"),
    ("delete", "delete", "delete jobs and all that is recorded of them"),
    ("prune", "prune", "delete finished jobs that are not kept any longer"),
    ("limits", "limits", "say how many jobs may run, or start, at once"),
    ("jobset", "jobset", "look at jobs that were posted as one, wait for them, cancel or retry them"),
    ("types", "job_types", "list the job types that can be posted"),
    ("nodes", "nodes", "list the machines that run conductors"),
    ("node", "node", "take a machine out of service, and back"),
    ("doctor", "doctor", "check configuration, servers and plugins"),
    ("demo", "demo", "see a job survive the death of its conductor"),
    ("new", "new", "make the skeleton of a new job type"),
    ("db", "db", "make, upgrade and check the database's tables"),
    ("config", "config", "show the configuration and where it comes from"),
    ("completion", "completion", "print a completion script for a shell"),
)
"""Name, module in this package, and one line of help; in the order of ``--help``."""

EPILOG = """\
Exit codes: 0 fine, 1 the job failed, 2 usage, 3 not found, 75 board or database unavailable, 124 timed out,
130 interrupted. Every command has its own --help. Ids of jobs can be shortened to any unique start.
"""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The complete parser, with those of all commands: for help, man pages and completion.

    :param command: if it is one, the only one whose parser is made; for the command itself, which needs no other
    """
    parser = Parser(
        prog="jobrunner",
        description="A distributed workflow conductor: post jobs, run them on many machines, watch them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=Parser
    )
    add_common(parser)
    for name, _, help in [row for row in COMMANDS if row[0] == command] or COMMANDS:
        made = command_module(name).add_parser(_WithHelp(subparsers, help))
        _complete(made if made is not None else subparsers.choices[name])
    return parser


def command_module(name: str) -> ModuleType:
    """The module of a command."""
    module = next(module for command, module, _ in COMMANDS if command == name)
    return importlib.import_module(f"jobrunner.cli.{module}")


def entry(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(GC_THRESHOLD)
    args = empty_namespace()
    try:
        _require_directory()
        try:
            code = _run(arguments, args)
        except SystemExit as leaving:  # argparse's way of ending after --help and usage errors
            code = _exit_code(leaving)
        sys.stdout.flush()
        return code
    except JobrunnerError as error:
        output.say_error(error)
        _print_traceback(args)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on: not an error worth a word.
        output.write_no_more(sys.stdout)
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            output.say(f"{error.strerror}. Raise the limit (ulimit -n, or LimitNOFILE= in the service).")
            return EXIT_JOB_FAILED
        if error.errno not in NO_ROOM:
            return _internal(error, args)
        output.say(f"there is no room for what is to be written: {error.strerror}")
        output.write_no_more(sys.stdout)
        return EXIT_JOB_FAILED
    except UnicodeEncodeError as error:
        words = [word for word in arguments if not _is_text(word)]
        if not words:
            return _internal(error, args)
        named = (
            "a URL that is given" if "://" in words[0] else f"{words[0]!a}"
        )  # there may be a password in it
        output.say(f"{named} is not text in UTF-8, which is all that the database holds.")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 - the edge: nobody should see a bare traceback
        return _internal(error, args)


def _open_streams() -> None:
    """Give a program that was started with closed streams empty ones: else the database's socket takes their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STREAM:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _require_directory() -> None:
    """Configuration, plugins and paths among the options are looked for from here."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "the directory in which this was started does not exist any more",
            hint='Change to one that does; if it was replaced by another: cd "$PWD"',
        ) from None


def _is_text(word: str) -> bool:
    """Whether an argument was text; the bytes of one that was not are kept as what no text has, for names of files."""
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


def _internal(error: Exception, args: argparse.Namespace) -> int:
    output.say(f"an internal error: {type(error).__name__}: {error}")
    if not _print_traceback(args):
        print("  (run with -v for the traceback)", file=sys.stderr)
    return EXIT_JOB_FAILED


def _run(arguments: Sequence[str], args: argparse.Namespace) -> int:
    parser = build_parser(arguments[0] if arguments else None)
    _, unknown = parser.parse_known_args(_spelled_out(arguments), args)
    if unknown:
        _parser_of(parser, args).error(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    _set_up_logging(args.verbose)
    code: int | None = command_module(args.command).run(args)
    return EXIT_OK if code is None else code


def _parser_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the command, or of its sub-command, that the arguments chose: the one that knows their options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = getattr(args, action.dest, None)
            if chosen in action.choices:
                return _parser_of(action.choices[chosen], args)
    return parser


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """``--hierarchy`` without its format would take the next word, which is the job type's name."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    before = [SPELLED_OUT if word == "--hierarchy" else word for word in arguments[:end]]
    return [*before, *arguments[end:]]


def _set_up_logging(verbose: int) -> None:
    from jobrunner.cli.logging_setup import set_up_logging

    set_up_logging(verbose)


def _print_traceback(args: argparse.Namespace) -> bool:
    if not getattr(args, "verbose", 0):
        return False
    import traceback

    traceback.print_exc()
    return True


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return EXIT_OK
    if isinstance(leaving.code, int):
        return leaving.code
    output.say(str(leaving.code))
    return EXIT_JOB_FAILED


def _complete(parser: argparse.ArgumentParser) -> None:
    """Add the common options to a command's parser, or to those of its sub-commands."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        for child in dict.fromkeys(action.choices.values()):
            _complete(child)
    if not nested:
        add_common(parser)


class _WithHelp:
    """A command's view of the sub-parsers: its line of help comes from the table above unless it brings its own."""

    def __init__(self, subparsers: argparse._SubParsersAction[Parser], help: str) -> None:
        self._subparsers = subparsers
        self._help = help

    def add_parser(self, name: str, **settings: object) -> argparse.ArgumentParser:
        settings.setdefault("help", self._help)
        settings.setdefault("description", f"{self._help[0].upper()}{self._help[1:]}.")
        return self._subparsers.add_parser(name, **settings)  # type: ignore[arg-type]


class _Version(argparse.Action):
    """Prints the version, which is only then imported."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from jobrunner import __version__

        print(f"jobrunner {__version__}")
        parser.exit()
