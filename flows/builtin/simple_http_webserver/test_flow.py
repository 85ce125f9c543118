"""simple_http_webserver: a real server on a real port, run by plain TaskFlow."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from taskflow import engines, task

from flows.builtin.simple_http_webserver import tasks
from flows.builtin.simple_http_webserver.flow import simple_http_webserver
from flows.builtin.simple_http_webserver.tasks import PortTaken, ServerDied, why_not_free
from flows.builtin.support.testing import DEADLINE_SECONDS, wait_until
from jobrunner import stopping

CONDUCTOR = """
import sys
from taskflow import engines
from flows.builtin.simple_http_webserver.flow import simple_http_webserver
parameters = {"port": int(sys.argv[1]), "directory": sys.argv[2]}
engines.run(simple_http_webserver(**parameters), store=parameters, engine="serial")
"""


class Running:
    """The job in a thread, as in a conductor, with everything that it reported."""

    def __init__(self, **parameters: Any) -> None:
        self.stop_signal = stopping.StopSignal()
        self.messages: list[str] = []
        self.error: BaseException | None = None
        self._parameters = parameters
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        stopping.bind(self.stop_signal)
        flow = simple_http_webserver(**self._parameters)
        (serve,) = [atom for atom, _ in flow.iter_nodes() if isinstance(atom, task.Task)]
        serve.notifier.register(
            task.EVENT_UPDATE_PROGRESS, lambda _, details: self.messages.append(details.get("message", ""))
        )
        try:
            engines.run(flow, store=self._parameters, engine="serial")
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            self.error = error

    def url(self, times: int = 1) -> str:
        """Where the server is, once it has started for the given time."""
        wait_until(
            lambda: len(self._urls) >= times or not self._thread.is_alive(), f"server started, {times}"
        )
        assert len(self._urls) >= times, f"the job ended: {self.error!r}"
        return self._urls[times - 1]

    @property
    def _urls(self) -> list[str]:
        return [match[0] for message in self.messages if (match := re.search(r"http://\S+", message))]

    def join(self) -> BaseException | None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "the job did not end"
        return self.error

    def stop(self, reason: stopping.StopReason = "cancel") -> BaseException | None:
        self.stop_signal.set(reason)
        return self.join()


@pytest.fixture
def running() -> Iterator[list[Running]]:
    """Jobs that are stopped at the end of the test, whatever happened."""
    jobs: list[Running] = []
    yield jobs
    for job in jobs:
        job.stop()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "hello.txt").write_text("hello, world")
    return tmp_path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def servers_of(pid: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "http.server" in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def test_it_serves_a_file_until_it_is_stopped(
    running: list[Running], site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    job = Running(port=port, directory=str(site), attempts=1)
    running.append(job)
    assert job.url() == f"http://127.0.0.1:{port}/"
    assert get(job.url() + "hello.txt") == "hello, world"
    assert isinstance(job.stop("suspend"), stopping.Stopped)
    assert why_not_free("127.0.0.1", port) is None
    assert servers_of(os.getpid()) == []
    printed = capfd.readouterr().out
    assert f"serving {site} at {job.url()}" in printed
    assert '"GET /hello.txt HTTP/1.1" 200' in printed


def test_it_is_reachable_only_where_it_was_bound(running: list[Running], site: Path) -> None:
    job = Running(port=0, directory=str(site), attempts=1)
    running.append(job)
    job.url()
    (server,) = servers_of(os.getpid())
    listening = [c.laddr.ip for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


def test_a_server_that_dies_is_started_again(running: list[Running], site: Path) -> None:
    job = Running(port=free_port(), directory=str(site), attempts=3)
    running.append(job)
    url = job.url()
    (first,) = servers_of(os.getpid())
    first.send_signal(signal.SIGKILL)
    assert job.url(times=2) == url
    assert get(url + "hello.txt") == "hello, world"
    (second,) = servers_of(os.getpid())
    assert second.pid != first.pid


def test_a_server_that_keeps_dying_fails_the_job(running: list[Running], site: Path) -> None:
    job = Running(port=free_port(), directory=str(site), attempts=2)
    running.append(job)
    for time in (1, 2):
        job.url(times=time)
        (server,) = servers_of(os.getpid())
        server.send_signal(signal.SIGKILL)
    error = job.join()
    assert isinstance(error, ServerDied)
    assert "code -9" in str(error)


def test_a_port_that_is_taken_is_told(
    running: list[Running], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PORT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        job = Running(port=port, directory=str(site), attempts=1)
        running.append(job)
        error = job.join()
    assert isinstance(error, PortTaken)
    assert f"port {port} on 127.0.0.1 is taken by another program" in str(error)
    assert "--port" in str(error)


def test_a_port_that_becomes_free_is_taken_over(running: list[Running], site: Path) -> None:
    """After a conductor's death its server needs a moment to end; the next conductor waits for that."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        job = Running(port=other.getsockname()[1], directory=str(site), attempts=1)
        running.append(job)
        wait_until(lambda: any("waiting for port" in message for message in job.messages), "it waits")
    assert get(job.url() + "hello.txt") == "hello, world"


def test_waiting_for_a_port_can_be_stopped(running: list[Running], site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        job = Running(port=other.getsockname()[1], directory=str(site), attempts=1)
        running.append(job)
        wait_until(lambda: any("waiting for port" in message for message in job.messages), "it waits")
        assert isinstance(job.stop(), stopping.Stopped)


def test_the_server_ends_when_its_conductor_is_killed_and_another_takes_over(
    running: list[Running], site: Path
) -> None:
    root = Path(__file__).parents[3]
    port = free_port()
    conductor = subprocess.Popen(
        [sys.executable, "-c", CONDUCTOR, str(port), str(site)],
        cwd=root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert conductor.stdout is not None
    with conductor, conductor.stdout:
        for line in conductor.stdout:
            if line.startswith("serving "):
                break
        (orphan,) = servers_of(conductor.pid)
        conductor.kill()
    job = Running(port=port, directory=str(site), attempts=1)
    running.append(job)
    assert get(job.url() + "hello.txt") == "hello, world"
    assert not orphan.is_running()
    (server,) = servers_of(os.getpid())
    assert server.pid != orphan.pid


def test_a_directory_that_is_not_there(running: list[Running], site: Path) -> None:
    job = Running(port=free_port(), directory=str(site / "nowhere"), attempts=1)
    error = job.join()
    assert isinstance(error, NotADirectoryError)
    assert "nowhere: not a directory on this machine" in str(error)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused_when_the_job_is_made(port: int) -> None:
    with pytest.raises(ValueError, match="not between 0 and 65535"):
        simple_http_webserver(port=port)
