"""Answering at once: people notice a command line that hesitates."""

from __future__ import annotations

import resource
from dataclasses import replace

from tests.support.command_line import CommandLine
from tests.support.stored import posted

HELP_S = 0.3
STATUS_S = 0.9
"""Of a processor: what others do on a busy machine does not count."""
TRIES = 5


def fastest(jobrunner: CommandLine, *arguments: str) -> float:
    """Seconds of a processor that a command takes: the best of several."""
    afresh = replace(jobrunner, cold=True)
    times = []
    for _ in range(TRIES):
        before = _used_by_children_s()
        assert afresh(*arguments).code == 0
        times.append(_used_by_children_s() - before)
    return min(times)


def _used_by_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_at_once(jobrunner: CommandLine) -> None:
    assert fastest(jobrunner, "--help") < HELP_S


def test_status_answers_at_once(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    assert fastest(plugins, "status", job_id) < STATUS_S
