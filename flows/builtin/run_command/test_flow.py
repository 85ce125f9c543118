"""run_command: real commands, run by plain TaskFlow."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from taskflow import engines

from flows.builtin.run_command.flow import run_command
from flows.builtin.run_command.tasks import TAIL_BYTES, CommandFailed, CommandTimedOut
from flows.builtin.support.processes import CommandNotStarted
from flows.builtin.support.testing import SPAWNER, alive, pids_in, wait_until
from jobrunner import stopping


def run(command: list[str], **parameters: Any) -> dict[str, Any]:
    """Run the flow as a conductor does: the parameters go to the factory and into the store."""
    flow = run_command(command, **parameters)
    result: dict[str, Any] = engines.run(flow, store={"command": command, **parameters}, engine="serial")[
        "outcome"
    ]
    return result


def python(code: str, *args: str) -> list[str]:
    return [sys.executable, "-c", code, *args]


@pytest.fixture
def stop_signal() -> Iterator[stopping.StopSignal]:
    signal = stopping.StopSignal()
    token = stopping.bind(signal)
    yield signal
    stopping._current.reset(token)


def set_when(
    condition: Callable[[], object], signal: stopping.StopSignal, reason: stopping.StopReason
) -> None:
    def watch() -> None:
        wait_until(condition, f"time to {reason}")
        signal.set(reason)

    threading.Thread(target=watch, daemon=True).start()


def test_output_and_result(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(["sh", "-c", "echo one; echo two; echo three >&2"])
    assert outcome["code"] == 0
    assert outcome["stdout"] == "one\ntwo\n"
    assert outcome["stderr"] == "three\n"
    assert outcome["seconds"] >= 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("one\ntwo\n", "three\n")


def test_output_is_printed_while_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command goes on only after its first line was seen: it would never end if output came at the end."""
    flag = tmp_path / "seen"

    class Out:
        def write(self, text: str) -> int:
            if "first" in text:
                flag.touch()
            return len(text)

    monkeypatch.setattr(sys, "stdout", Out())
    script = 'echo first; while [ ! -e "$1" ]; do sleep 0.05; done; echo last'
    outcome = run(["sh", "-c", script, "sh", str(flag)], timeout=20.0)
    assert outcome["stdout"] == "first\nlast\n"


def test_the_exit_code_decides() -> None:
    with pytest.raises(CommandFailed, match=r"^sh: exit code 3: that went wrong$") as failure:
        run(["sh", "-c", "echo that went wrong >&2; exit 3"])
    assert failure.value.code == 3
    assert failure.value.stderr == "that went wrong\n"


def test_other_codes_can_be_fine() -> None:
    assert run(["sh", "-c", "exit 3"], ok_codes=[0, 3])["code"] == 3
    with pytest.raises(CommandFailed, match="exit code 0"):
        run(["true"], ok_codes=[3])


def test_the_end_by_a_signal_is_told() -> None:
    with pytest.raises(CommandFailed, match="ended by signal 9"):
        run(["sh", "-c", "kill -KILL $$"])


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    words = [
        "$(touch pwned)",
        "; touch pwned",
        "`touch pwned`",
        "> pwned",
        "*",
        "a b",
        "'",
        "",
        "&&",
        "$HOME",
    ]
    outcome = run(python("import sys; print(sys.argv[1:])", *words), cwd=str(tmp_path))
    assert outcome["stdout"] == f"{words}\n"
    assert list(tmp_path.iterdir()) == []


def test_directory_environment_and_input(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(os.getcwd(), os.environ['GREETING'], 'PATH' in os.environ, sys.stdin.read())"
    )
    outcome = run(python(code), cwd=str(tmp_path), env=["GREETING=a=b"], stdin="héllo")
    assert outcome["stdout"] == f"{tmp_path} a=b True héllo\n"


def test_without_input_a_command_reads_end_of_file() -> None:
    assert run(["cat"], timeout=20.0)["stdout"] == ""


def test_input_larger_than_a_pipe() -> None:
    text = "0123456789" * 50_000
    assert run(["wc", "-c"], stdin=text)["stdout"].strip() == str(len(text))


@pytest.mark.parametrize("timeout", [1.0, "PT1S", "1s"])
def test_a_timeout_ends_the_command_and_its_children(tmp_path: Path, timeout: str | float) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimedOut, match="ended after 1 s, its timeout"):
        run(python(SPAWNER, str(tmp_path / "pids")), timeout=timeout)
    assert time.monotonic() - started < 20
    assert not any(alive(pid) for pid in pids_in(tmp_path / "pids"))


def test_a_cancelled_job_ends_the_command_and_its_children(
    tmp_path: Path, stop_signal: stopping.StopSignal
) -> None:
    set_when((tmp_path / "pids").exists, stop_signal, "cancel")
    with pytest.raises(stopping.Stopped, match="cancel"):
        run(python(SPAWNER, str(tmp_path / "pids")), timeout=60.0)
    assert not any(alive(pid) for pid in pids_in(tmp_path / "pids"))


def test_a_conductor_that_shuts_down_lets_the_command_finish(
    tmp_path: Path, stop_signal: stopping.StopSignal
) -> None:
    """The command ends only after the stop was asked for, and is not made to."""
    asked = tmp_path / "asked"
    set_when((tmp_path / "runs").exists, stop_signal, "suspend")

    def end_the_command_later() -> None:
        wait_until(stop_signal.is_set, "the stop is asked for")
        asked.touch()

    threading.Thread(target=end_the_command_later, daemon=True).start()
    script = "touch runs; while [ ! -e asked ]; do sleep 0.05; done; echo done"
    assert run(["sh", "-c", script], cwd=str(tmp_path), timeout=20.0)["stdout"] == "done\n"


def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(CommandNotStarted, match="command not found: 'no-such-program-xyz'"):
        run(["no-such-program-xyz"])


def test_a_directory_that_does_not_exist() -> None:
    with pytest.raises(CommandNotStarted, match="in the directory '/nowhere/at/all'"):
        run(["true"], cwd="/nowhere/at/all")


def test_what_is_not_text_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(python(r"import sys; sys.stdout.buffer.write(b'a\xff\xfe\0b\n')"))
    assert outcome["stdout"] == "a\ufffd\ufffd\ufffdb\n"
    assert capsys.readouterr().out == outcome["stdout"]


def test_long_output_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(python("print('x' * 1_000_000); print('end')"))
    assert len(outcome["stdout"]) == TAIL_BYTES
    assert outcome["stdout"].endswith("x\nend\n")
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"x{8192} \[\.\.\. 991808 more bytes\]", first)
    assert last == "end"


@pytest.mark.parametrize("command", [[], [""]])
def test_an_empty_command_is_refused_when_the_job_is_made(command: list[str]) -> None:
    with pytest.raises(ValueError, match="name of a program"):
        run_command(command)


def test_a_wrong_assignment_is_refused_when_the_job_is_made() -> None:
    with pytest.raises(ValueError, match="'NOVALUE' is not an assignment"):
        run_command(["true"], env=["NOVALUE"])
