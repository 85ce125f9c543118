"""`jobrunner show` on a terminal: in place, in colour, through an outage, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.command_line import CommandLine
from tests.support.servers import MariaDbServer
from tests.support.stored import DEADLINE_S, Rows, posted

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo terminal with a program on it."""

    def __init__(self, command_line: CommandLine, *arguments: str, **variables: str) -> None:
        self.seen = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environment = command_line.environment(TERM="xterm-256color", **variables)
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            command_line.command(*arguments),
            cwd=command_line.home,
            env={**environment, **variables},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    @property
    def text(self) -> str:
        return ANSI.sub("", self.seen)

    def until(self, words: str) -> None:
        """Read until the program has written these words."""
        deadline = time.monotonic() + DEADLINE_S
        while words not in self.text:
            if time.monotonic() > deadline or not self._read():
                pytest.fail(f"{words!r} never came: {self.text[-3000:]}")

    def end(self) -> int:
        """Read all that is still written; the exit code."""
        while self._read():
            pass
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._master], [], [], DEADLINE_S)
        if not readable:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the program has closed its side
            return False
        self.seen += data.decode()
        return bool(data)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(command_line: CommandLine, *arguments: str, **variables: str) -> Terminal:
        opened.append(Terminal(command_line, *arguments, **variables))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_it_changes_in_place_and_leaves_the_last_frame(
    plugins: CommandLine, rows: Rows, terminal: Callable[..., Terminal]
) -> None:
    job_id = posted(plugins("post", "greet"))
    screen = terminal(plugins, "show", "--interval", "0.1s")
    screen.until(f"WAITING    {job_id[:8]}")
    rows.change(job_id, state="RUNNING", node="alpha", started_ms=time.time_ns() // 1_000_000)
    screen.until(f"RUNNING    {job_id[:8]}")
    rows.change(job_id, state="SUCCEEDED", finished_ms=time.time_ns() // 1_000_000)
    screen.until(f"SUCCEEDED  {job_id[:8]}")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 0
    assert "\x1b[?1049h" not in screen.seen  # no other screen
    assert "\x1b[2J" not in screen.seen  # nothing cleared ...
    assert "\x1b[3J" not in screen.seen  # ... least of all what was there before
    assert "\x1b[1A" in screen.seen  # drawn over itself
    assert re.search(r"\x1b\[[0-9;]*3\dm", screen.seen)  # coloured
    last = screen.text[screen.text.rindex("jobrunner") :]
    assert f"SUCCEEDED  {job_id[:8]}" in last
    assert "Traceback" not in screen.text


def test_colours_are_left_out_where_nobody_wants_them(
    plugins: CommandLine, rows: Rows, terminal: Callable[..., Terminal]
) -> None:
    job_id = posted(plugins("post", "greet"))
    screen = terminal(plugins, "show", NO_COLOR="1")
    screen.until(job_id[:8])
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*[349]\dm", screen.seen)


def test_with_ids_it_ends_with_the_jobs(
    plugins: CommandLine, rows: Rows, terminal: Callable[..., Terminal]
) -> None:
    job_id = posted(plugins("post", "greet"))
    screen = terminal(plugins, "show", job_id[:8], "--interval", "0.1s")
    screen.until("WAITING")
    rows.change(job_id, state="CANCELLED", finished_ms=time.time_ns() // 1_000_000)
    screen.until("CANCELLED")
    assert screen.end() == 0


def test_an_outage_is_a_line_in_the_frame(
    plugins: CommandLine, private_mariadb: Callable[..., MariaDbServer], terminal: Callable[..., Terminal]
) -> None:
    server = private_mariadb()
    variables = {"JOBRUNNER_PERSISTENCE__URL": server.create_database()}
    assert plugins("db", "upgrade", **variables).code == 0
    job_id = posted(plugins("post", "greet", **variables))
    screen = terminal(plugins, "show", "--interval", "0.1s", **variables)
    screen.until(job_id[:8])
    server.kill()
    screen.until("The database mysql+pymysql://")
    screen.until("Trying on")
    server.start()
    screen.seen = ""
    screen.until("jobrunner")
    deadline = time.monotonic() + DEADLINE_S
    while "Away for" in screen.text[screen.text.rindex("jobrunner") :] and time.monotonic() < deadline:
        screen.seen = screen.seen[-20_000:]
        screen._read()
    last = screen.text[screen.text.rindex("jobrunner") :]
    assert "Away for" not in last
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 0
