"""Guarded processes: what they write, how they end, and that nothing of them stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.builtin.support.processes import CommandNotStarted, GuardedProcess, GuardianLost
from flows.builtin.support.testing import DEADLINE_SECONDS, SPAWNER, alive, pids_in, wait_until


def read_all(process: GuardedProcess) -> tuple[bytes, bytes]:
    collected = {"stdout": b"", "stderr": b""}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not process.finished:
        assert time.monotonic() < deadline, "the command did not end"
        for stream, data in process.read(0.1):
            collected[stream] += data
    return collected["stdout"], collected["stderr"]


def python(code: str, *args: str) -> list[str]:
    return [sys.executable, "-c", code, *args]


def test_output_and_exit_code() -> None:
    with GuardedProcess(["sh", "-c", "echo out; echo err >&2; exit 7"]) as process:
        assert read_all(process) == (b"out\n", b"err\n")
        assert process.code == 7


def test_more_output_than_a_pipe_holds_arrives_whole() -> None:
    with GuardedProcess(python("print('x' * 3_000_000)")) as process:
        stdout, _ = read_all(process)
    assert len(stdout) == 3_000_001


def test_the_end_by_a_signal_is_a_negative_code() -> None:
    with GuardedProcess(["sh", "-c", "kill -KILL $$"]) as process:
        read_all(process)
        assert process.code == -signal.SIGKILL


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    script = 'sleep 600 & echo $! > "$1.tmp"; mv "$1.tmp" "$1"'
    with GuardedProcess(["sh", "-c", script, "sh", str(tmp_path / "pids")]) as process:
        read_all(process)
        assert process.code == 0
        (left,) = pids_in(tmp_path / "pids")
        assert not alive(left)


def test_a_process_that_left_the_session_does_not_hold_up_the_end(tmp_path: Path) -> None:
    script = 'setsid sleep 600 & echo $! > "$1.tmp"; mv "$1.tmp" "$1"'
    started = time.monotonic()
    with GuardedProcess(["sh", "-c", script, "sh", str(tmp_path / "pids")]) as process:
        read_all(process)
        assert process.code == 0
    assert time.monotonic() - started < DEADLINE_SECONDS / 2
    for pid in pids_in(tmp_path / "pids"):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_close_ends_the_whole_group(tmp_path: Path) -> None:
    with GuardedProcess(python(SPAWNER, str(tmp_path / "pids"))):
        pids = pids_in(tmp_path / "pids")
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)


def test_a_group_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SPAWNER
    with GuardedProcess(python(code, str(tmp_path / "pids")), grace=0.2) as process:
        pids = pids_in(tmp_path / "pids")
        process.stop()
        process.stop()
        read_all(process)
        assert process.code == -signal.SIGKILL
    assert not any(alive(pid) for pid in pids)


def test_the_command_ends_when_the_conductor_is_killed(tmp_path: Path) -> None:
    conductor = """
import sys
from flows.builtin.support.processes import GuardedProcess
with GuardedProcess([sys.executable, "-c", sys.argv[1], sys.argv[2]]) as process:
    while True:
        process.read(1)
"""
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(python(conductor, SPAWNER, str(tmp_path / "pids")), cwd=root)
    try:
        pids = pids_in(tmp_path / "pids")
        assert all(alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids), "command and its child are gone")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_command_ends_when_its_guardian_is_killed() -> None:
    with GuardedProcess(["sleep", "600"]) as process:
        guardian = process._guardian
        assert guardian is not None
        guardian.kill()
        read_all(process)
        wait_until(lambda: not alive(process.pid), "the command is gone")
        with pytest.raises(GuardianLost, match="was killed"):
            _ = process.code


def test_the_command_inherits_no_descriptors() -> None:
    with GuardedProcess(python("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")) as process:
        stdout, _ = read_all(process)
    assert json.loads(stdout) in ([0, 1, 2], [0, 1, 2, 3])  # 3 is the listing's own


def test_arguments_and_environment_arrive_byte_for_byte() -> None:
    word = os.fsdecode(b"caf\xe9 $(id) ;*\n'\"")
    code = "import os, sys; print(os.fsencode(sys.argv[1]), os.environb[b'K'], sorted(os.environ) == ['K', 'PATH'])"
    env = {"PATH": os.environ["PATH"], "K": word}
    with GuardedProcess([sys.executable, "-I", "-X", "utf8", "-c", code, word], env=env) as process:
        stdout, stderr = read_all(process)
    expected = repr(os.fsencode(word))
    assert stdout.decode().startswith(f"{expected} {expected}"), stderr


def test_signals_are_at_their_defaults() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.pthread_sigmask(0, []))"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        with GuardedProcess(python(code)) as process:
            stdout, _ = read_all(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert stdout == b"True set()\n"


def test_a_missing_program() -> None:
    with pytest.raises(CommandNotStarted, match=r"command not found: 'no-such-program-xyz'.*PATH"):
        GuardedProcess(["no-such-program-xyz"]).__enter__()


def test_a_file_that_is_not_executable(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(CommandNotStarted, match="permission denied"):
        GuardedProcess([str(script)]).__enter__()


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(CommandNotStarted, match=r"in the directory '.*/nowhere'"):
        GuardedProcess(["true"], cwd=tmp_path / "nowhere").__enter__()


def test_nothing_stays_open() -> None:
    with GuardedProcess(["true"]) as process:
        read_all(process)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with GuardedProcess(["true"]) as process:
            read_all(process)
        with pytest.raises(CommandNotStarted):
            GuardedProcess(["no-such-program-xyz"]).__enter__()
    assert set(os.listdir("/proc/self/fd")) == before
