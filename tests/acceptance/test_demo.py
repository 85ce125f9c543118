"""`jobrunner demo`: it shows a real takeover, touches nobody's jobs, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from tests.support.command_line import CommandLine

SECONDS = 60
BUILTIN_ATOMS = ["scan", "archive", "checksum", "verify", "publish", "prune"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its directory."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    "servers", [pytest.param("embedded", marks=pytest.mark.thorough), "redis and mariadb"]
)
def test_demo(jobrunner: CommandLine, temporary: Path, servers: str, request: pytest.FixtureRequest) -> None:
    options: list[str] = []
    if servers != "embedded":
        board, store = request.getfixturevalue("redis_url"), request.getfixturevalue("mariadb_url")
        options = ["--board-url", board, "--persistence-url", store]
    began = time.monotonic()
    done = jobrunner("demo", "--json", *options, TMPDIR=str(temporary))
    assert done.code == 0, done.out + done.err
    assert time.monotonic() - began < SECONDS

    data = done.json
    assert data["ok"] is True
    assert data["state"] == "SUCCEEDED"
    assert len(data["claims"]) >= 10
    runs = [(run["atom"], run["start"], run["conductor"]) for run in data["atoms"]]
    assert list(dict.fromkeys(atom for atom, _, _ in runs)) == BUILTIN_ATOMS
    interrupted = [run for run in data["atoms"] if run["outcome"] != "SUCCESS"]
    assert len(interrupted) == 1
    again = (interrupted[0]["atom"], 2, data["survivor"])
    assert again in runs
    border = runs.index(again)
    assert {conductor for _, _, conductor in runs[:border]} == {data["killed"]["name"]}
    assert {conductor for _, _, conductor in runs[border:]} == {data["survivor"]}
    assert 0 < data["takeover_s"] <= data["lease_s"] + 2

    assert not psutil.pid_exists(data["killed"]["pid"]) or _is_zombie(data["killed"]["pid"])
    assert list(temporary.iterdir()) == []
    assert list(jobrunner.home.rglob("*.sqlite*")) == []
    if servers != "embedded":
        with redis.Redis.from_url(options[1]) as client:
            assert client.keys("*") == []


@pytest.mark.thorough
def test_demo_in_words_on_a_directory_that_is_named(jobrunner: CommandLine, temporary: Path) -> None:
    jobrunner.write({f"precious/{number}.txt": "x" * 5000 for number in range(20)})
    done = jobrunner("demo", "--keep", "precious", TMPDIR=str(temporary))
    assert done.code == 0, done.out + done.err
    assert "kill -9" in done.err
    assert "✘" not in done.out
    assert done.out.count("✔") >= 10
    assert "20 files" in done.out
    (kept,) = temporary.iterdir()
    assert [path.suffix for path in sorted((kept / "backups").iterdir())] == [".tar", ".sha256"]
    job_id = done.err.partition("jobrunner status ")[2].split()[0]
    status = jobrunner("status", job_id, "--config", str(kept / "jobrunner.toml"))
    assert status.code == 0, status.err
    assert "SUCCEEDED" in status.out.upper()


def test_store_that_is_in_use_is_left_alone(jobrunner: CommandLine, temporary: Path, sqlite_url: str) -> None:
    store = ("--persistence-url", sqlite_url)
    posted = jobrunner("post", "run_command", "--json", *store, "--", "true")
    assert posted.code == 0, posted.err
    done = jobrunner("demo", *store, TMPDIR=str(temporary))
    assert (done.code, done.out) == (2, "")
    assert "is in use: it has 1 open jobs" in done.err
    assert "make an empty one" in done.err
    assert list(temporary.iterdir()) == []


BREAKS_CONDUCTORS = """
import os, sys
if "run" in sys.orig_argv:
    os.write(2, b"broken on purpose\\n")
    os._exit(9)
"""


def test_conductor_that_does_not_start_is_told_with_its_log(jobrunner: CommandLine, temporary: Path) -> None:
    jobrunner.write({"broken/sitecustomize.py": BREAKS_CONDUCTORS})
    done = jobrunner("demo", TMPDIR=str(temporary), PYTHONPATH=str(jobrunner.home / "broken"))
    assert (done.code, done.out) == (1, "")
    assert "ended with code 9" in done.err
    # The first that has ended ends the demo: the other one may not even have begun to speak.
    assert re.search(r"the end of demo-[ab]'s log:\n  broken on purpose", done.err), done.err
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_interrupted_demo_leaves_no_process_and_no_directory(
    jobrunner: CommandLine, temporary: Path, sent: signal.Signals, code: int
) -> None:
    with running_demo(jobrunner, temporary) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "posted" in line:
                break
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) >= 2
        demo.send_signal(sent)
        demo.stderr.read()
        assert demo.wait(timeout=SECONDS) == code
    assert [process for process in started if process.is_running() and not _is_zombie(process.pid)] == []
    assert list(temporary.iterdir()) == []


def test_a_demo_that_nobody_reads_on_leaves_no_process_and_no_directory(
    jobrunner: CommandLine, temporary: Path
) -> None:
    with running_demo(jobrunner, temporary) as demo:
        assert demo.stderr is not None
        next(line for line in demo.stderr if "posted" in line)
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) >= 2
        demo.stderr.close()
        assert demo.wait(timeout=SECONDS) == 141
    assert [process for process in started if process.is_running() and not _is_zombie(process.pid)] == []
    assert list(temporary.iterdir()) == []


@contextmanager
def running_demo(jobrunner: CommandLine, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        jobrunner.command("demo"),
        cwd=jobrunner.home,
        env=jobrunner.environment(TMPDIR=str(temporary)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def _is_zombie(pid: int) -> bool:
    """Where a container's first process does not reap, what ended stays as a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
