"""``jobrunner new``: a plugin to begin with, that works and has a test that passes."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path

from jobrunner.cli import options, output, text
from jobrunner.errors import EXIT_OK, UsageError

DESCRIPTION = """\
Make a plugin to begin with: flows/GROUP/JOB with a flow of two tasks and a test that passes. Nothing that is there is
overwritten."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("new", description=DESCRIPTION)
    parser.add_argument("plugin", metavar="GROUP/JOB", help="where to put it, and the new job type's name")
    parser.add_argument(
        "--directory", metavar="DIR", default=".", help="the directory that holds flows/ (default: this one)"
    )
    options.add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.plugins import create_plugin

    group, job = split(args.plugin)
    root = Path(os.path.expanduser(args.directory))
    files = create_plugin(root, group, job)
    if args.json:
        output.print_json({"job_type": job, "files": [str(file) for file in files]})
        return EXIT_OK
    for file in files:
        print(text.clean(file))
    steps = "\n".join(f"  {step}" for step in next_steps(root, group, job))
    output.say(f"made the job type {job}. Try it:\n{steps}")
    return EXIT_OK


def split(plugin: str) -> tuple[str, str]:
    """The group and the job of ``group/job``; raises UsageError."""
    group, separator, job = plugin.strip("/").removeprefix("flows/").partition("/")
    if not separator or not group or not job or "/" in job:
        raise UsageError(
            f"{plugin!r} does not name a plugin: it takes a group and a job.",
            hint="For example: jobrunner new reports/monthly_report",
        )
    return group, job


def next_steps(root: Path, group: str, job: str) -> list[str]:
    """The commands to run next: the plugin's test, and what a job of it takes."""
    steps = [f"{_python()} -m pytest flows/{group}/{job}", f"{_jobrunner()} post {job} --help"]
    if importlib.util.find_spec("pytest") is None:
        steps.insert(0, f"{_python()} -m pip install pytest")
    if root.resolve() != Path.cwd():
        steps.insert(0, f"cd {shlex.quote(str(root))}")
    return steps


def _python() -> str:
    """A short way to call the interpreter that has jobrunner."""
    found = shutil.which("python")
    if found is not None and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    return _path(sys.executable)


def _jobrunner() -> str:
    """A short way to call this command, also where nobody activated its environment."""
    beside = Path(sys.executable).with_name("jobrunner")
    return _path(str(beside)) if shutil.which("jobrunner") is None and beside.exists() else "jobrunner"


def _path(path: str) -> str:
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith("..") else relative)
