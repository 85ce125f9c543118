"""A person's own plugins, the embedded default's rows, and conductors that run for a test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from jobrunner.persistence.server.database import Database
from tests.support import warm
from tests.support.command_line import CommandLine
from tests.support.stored import DEADLINE_S, Rows

GREET = '''
from pathlib import Path
from taskflow import task
from taskflow.patterns import linear_flow
from jobrunner import job
from jobrunner.stopping import Stopped, wait_for_stop


class Greet(task.Task):
    def execute(self, name, fail):
        print(f"hello {name}")
        if fail:
            raise RuntimeError("no more greetings")
        return len(name)


class Linger(task.Task):
    def execute(self, until):
        while until and not Path(until).exists():
            if wait_for_stop(0.05):
                raise Stopped
        print("bye")


@job()
def greet(name: str = "you", times: int = 1, fail: bool = False, until: str = "") -> linear_flow.Flow:
    """Greet somebody.

    Args:
        name: who it is
    """
    return linear_flow.Flow("greet").add(Greet("greet", provides="length"), Linger("linger"))


@job()
def greet_many(names: list[str]) -> linear_flow.Flow:
    """Greet many."""
    return linear_flow.Flow("many").add(task.FunctorTask(lambda names: len(names), name="count", provides="n"))


@job()
def needy(name: str = "x") -> linear_flow.Flow:
    """Needs what nobody has."""
    return linear_flow.Flow("needy").add(task.FunctorTask(lambda treasure: None, name="dig"))
'''

CLASSIC = '''
import argparse
from taskflow import task
from taskflow.patterns import linear_flow
from jobrunner.cli.parse import parse_arguments
from jobrunner.plugins import register_job
from jobrunner.post_job import post_job


class Shout(task.Task):
    def execute(self, word):
        print(word.upper())


def make_flow(times):
    return linear_flow.Flow("shouting").add(*[Shout(f"shout-{number}") for number in range(times)])


@register_job()
def shout(args=None):
    """Shout a word."""
    parser = argparse.ArgumentParser(description="The classic form.")
    parser.add_argument("--word", default="hey")
    parser.add_argument("--times", type=int, default=1)
    args = parse_arguments(parser, args)
    post_job(make_flow, store={"word": args.word}, factory_args=[args.times], hierarchy=args.hierarchy)
'''


@pytest.fixture
def plugins(jobrunner: CommandLine) -> CommandLine:
    """The command line in a directory with job types of both forms, and a plugin that does not import."""
    jobrunner.write(
        {
            "flows/own/greet/flow.py": GREET,
            "flows/own/shout/flow.py": CLASSIC,
            "flows/own/broken/flow.py": "import nothing_of_that_name\n",
        }
    )
    return jobrunner


@pytest.fixture
def rows(jobrunner: CommandLine) -> Iterator[Rows]:
    made = jobrunner("db", "upgrade")
    assert made.code == 0, made.err
    database = Database(f"sqlite:///{jobrunner.home}/.local/share/jobrunner/jobrunner.sqlite")
    yield Rows(database)
    database.close()


@pytest.fixture
def conductor(plugins: CommandLine) -> Iterator[Callable[..., warm.Process]]:
    """Starts conductors with one worker; what still runs is stopped when the test ends."""
    started: list[warm.Process] = []

    def start(*arguments: str) -> warm.Process:
        with (plugins.home / "conductor.log").open("ab") as log:
            process = warm.start(
                ["run", "--processes", "1", "--jobs", "4", *arguments],
                cwd=plugins.home,
                env=plugins.environment(),
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0, (plugins.home / "conductor.log").read_text()
