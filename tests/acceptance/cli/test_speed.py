"""Answering at once: people notice a command line that hesitates."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.support.command_line import CommandLine
from tests.support.stored import posted

HELP_S = 0.3
STATUS_S = 0.8
TRIES = 7


def fastest(jobrunner: CommandLine, *arguments: str) -> float:
    """The best of several, so that a busy machine does not count."""
    afresh = replace(jobrunner, cold=True)
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        assert afresh(*arguments).code == 0
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_answers_at_once(jobrunner: CommandLine) -> None:
    assert fastest(jobrunner, "--help") < HELP_S


def test_status_answers_at_once(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    assert fastest(plugins, "status", job_id) < STATUS_S
