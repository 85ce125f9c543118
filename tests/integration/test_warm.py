"""Warm processes are like cold ones, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import warm
from tests.support.boards import until
from tests.support.command_line import Done, text_of
from tests.support.conductors import ROOT, lives


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


def run(
    directory: Path,
    environment: dict[str, str],
    *arguments: str,
    cold: bool = False,
    becomes_cold: bool = False,
) -> Done:
    with (directory / "out").open("w+b") as out, (directory / "err").open("w+b") as err:
        process = warm.start(arguments, cwd=directory, env=environment, stdout=out, stderr=err, cold=cold)
        assert isinstance(process, subprocess.Popen) is (cold or becomes_cold)
        return Done(code=process.wait(60), out=text_of(out), err=text_of(err))


@pytest.mark.parametrize(
    "arguments",
    [["config", "show"], ["list", "--json"], ["list", "--limit", "none"], ["status", "--help"], ["types"]],
    ids=" ".join,
)
def test_they_say_and_return_what_cold_ones_do(
    arguments: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    flow = tmp_path / "flows/a/b/flow.py"
    flow.parent.mkdir(parents=True)
    flow.write_text("from jobrunner import job\n\n\n@job()\ndef of_this_directory(): ...\n")
    found = run(tmp_path, environment, *arguments)
    assert found == run(tmp_path, environment, *arguments, cold=True)
    assert found.out or found.err


def test_one_does_not_know_what_another_did(tmp_path: Path, environment: dict[str, str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for home in (first, second):
        home.mkdir()
    run(first, environment | {"JOBRUNNER_CONDUCTOR__NAME": "alice"}, "config", "show")
    assert "alice" not in run(second, environment, "config", "show").out


def test_what_python_heeds_while_it_starts_makes_them_cold(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert (
        run(tmp_path, environment | {"LC_ALL": "en_GB.ISO-8859-1"}, "--version", becomes_cold=True).code == 0
    )
    (tmp_path / "sitecustomize.py").write_text("print('customized')")
    places = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    assert "customized" in run(tmp_path, environment | places, "--version", becomes_cold=True).out


CONDUCTOR = """
import os, sys
from pathlib import Path
from tests.support import warm
with open("log", "wb") as log:
    process = warm.start(["run", "--processes", "1"], cwd=Path.cwd(), env=os.environ, stdout=log, stderr=log)
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def starter(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that starts a conductor, prints its id and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", CONDUCTOR],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_whoever_started_them(
    starter: subprocess.Popen[str], tmp_path: Path, how: signal.Signals
) -> None:
    assert starter.stdout is not None
    conductor = psutil.Process(int(starter.stdout.readline()))
    until(lambda: "takes jobs" in (tmp_path / "log").read_text(), within=30)
    processes = [conductor, *conductor.children(recursive=True)]
    assert len(processes) == 3
    starter.send_signal(how)
    until(lambda: not any(lives(process.pid) for process in processes), within=30)


def test_a_signal_that_ended_one_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = warm.start(["run"], cwd=tmp_path, env=environment, stdout=log, stderr=log)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(30) == process.poll() == -signal.SIGKILL
    process.kill()  # which does nothing any more
