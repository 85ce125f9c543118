"""The job type that runs one command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from taskflow.patterns import linear_flow

from flows.builtin.run_command.tasks import RunCommand
from flows.builtin.support.processes import merged_environment
from jobrunner import job

OK_CODES = [0]


@job()
def run_command(
    command: list[str],
    cwd: Path | None = None,
    env: list[str] | None = None,
    stdin: str | None = None,
    timeout: timedelta | None = None,
    ok_codes: list[int] = OK_CODES,
) -> linear_flow.Flow:
    """Run one command and keep what it prints.

    The command is a list of arguments and never goes through a shell. Its exit code decides. It cannot be undone,
    and if its machine dies it is run again from its start on another one.

    Args:
        command: the program and its arguments
        cwd: the directory to run it in; by default the conductor's
        env: KEY=value assignments to add to the conductor's environment
        stdin: text for the command to read
        timeout: after this time the command is ended, with everything that it started
        ok_codes: the exit codes that mean success
    """
    if not command or not command[0]:
        raise ValueError("command: give at least the name of a program")
    merged_environment(env or [])
    return linear_flow.Flow("run_command").add(RunCommand("run", provides="outcome"))
