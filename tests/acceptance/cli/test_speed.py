"""Answering at once: people notice a command line that hesitates.

Processor time, and measured against what nobody can do without: how fast a processor is that it shares with others
changes from minute to minute.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

from tests.support.command_line import CommandLine
from tests.support.stored import posted

LIBRARIES = "import pydantic, sqlalchemy"
"""What a command needs that looks into the store. On an idle machine this takes some 0.35 s."""
HELP = 0.6
STATUS = 2.7
TRIES = 4


def times_libraries(jobrunner: CommandLine, *arguments: str) -> float:
    """How many times as much of a processor a command takes as importing the libraries: the best of several each."""
    afresh = replace(jobrunner, cold=True)

    def command() -> None:
        assert afresh(*arguments).code == 0

    ours, libraries = [], []
    for _ in range(TRIES):
        libraries.append(_used_by(_import_libraries))
        ours.append(_used_by(command))
    return min(ours) / min(libraries)


def _import_libraries() -> None:
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)


def _used_by(work: Callable[[], None]) -> float:
    before = _used_by_children_s()
    work()
    return _used_by_children_s() - before


def _used_by_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_at_once(jobrunner: CommandLine) -> None:
    assert times_libraries(jobrunner, "--help") < HELP


def test_status_answers_at_once(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    assert times_libraries(plugins, "status", job_id) < STATUS
