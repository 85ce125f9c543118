"""Every command line in the documentation is one that jobrunner accepts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobrunner.cli.main import COMMANDS, build_parser
from tests.acceptance.docs.test_reference import SHARED, options_of, parsers
from tests.support.command_line import CommandLine
from tests.support.markdown import PAGES, ROOT, blocks, commands, files, page, prose

CALLS = [
    (block.where, arguments)
    for path in PAGES
    for block in blocks(path, "console")
    for arguments in commands(block)
]

CHECK = """
import contextlib, io, json, sys
from dataclasses import replace
from jobrunner.cli.main import build_parser, _spelled_out
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_chain import THEN, parse_parts
from jobrunner.cli.post_type import parse_type_options
from jobrunner.model import After
from jobrunner.plugins import load_plugins

registry = load_plugins()
assert not registry.problems, registry.problems


def problem(arguments):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            args = build_parser().parse_args(_spelled_out(arguments), empty_namespace())
            if args.command == "post" and args.file is None and THEN in args.rest:
                for part in parse_parts(args, registry.get_type(args.type)):
                    for posting in part.postings:
                        registry.get_type(posting.type).accept(replace(posting, after=(After(job=0),)))
            elif args.command == "post" and args.file is None:
                job_type = registry.get_type(args.type)
                if not job_type.is_classic:
                    raw = parse_type_options(args, job_type)
                    job_type.parameters.validate(raw, refers=bool(args.after))
            return None
        except SystemExit as leaving:
            return said.getvalue() if leaving.code else None
        except Exception as error:
            return repr(error)


print(json.dumps([problem(arguments) for arguments in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> list[str | None]:
    """What is wrong with each of the calls, where all plugins of the documentation are there."""
    line = CommandLine(tmp_path_factory.mktemp("home"))
    line.write({"flows/office/greeting/flow.py": blocks(page("README.md"), "python")[0].text})
    for path in PAGES:
        line.write(files(path))
    assert line("new", "office/words").code == 0
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps([arguments for _, arguments in CALLS]),
        cwd=line.home,
        env=line.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


def test_there_are_command_lines() -> None:
    assert len(CALLS) > 40
    used = {arguments[0] for _, arguments in CALLS if arguments and not arguments[0].startswith("-")}
    assert used >= {
        "run",
        "post",
        "show",
        "list",
        "status",
        "logs",
        "retry",
        "nodes",
        "doctor",
        "db",
        "new",
        "demo",
    }


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda number: CALLS[number][0])
def test_command_lines_are_accepted(number: int, problems: list[str | None]) -> None:
    assert problems[number] is None, CALLS[number][1]


def inline_calls(path: Path) -> list[str]:
    return re.findall(r"`(?:bin/)?jobrunner ([^`]*)`", prose(path).replace("\n", " "))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_have_the_options_that_they_are_told_with(path: Path) -> None:
    known = parsers(build_parser())
    for call in inline_calls(path):
        command, *words = call.partition(" -- ")[0].split()
        if command in ("COMMAND", "--version"):
            continue
        assert command in {name for name, _, _ in COMMANDS}, call
        options = {word.strip("[]").partition("=")[0] for word in words if word.strip("[").startswith("-")}
        assert options <= options_of(known[command]) | SHARED | {"-vv", "-"}, call
