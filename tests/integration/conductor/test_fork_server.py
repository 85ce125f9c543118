"""The fork server: how workers are made, and how their ends are told."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import psutil
import pytest

from jobrunner import fork_server
from jobrunner.conductor.channel import Channel, Message
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.supervisor.forks import ANSWER_S, ForkServer
from jobrunner.conductor.supervisor.wakeup import Wakeup
from jobrunner.config import BoardSection, Config, PersistenceSection
from tests.support.boards import until
from tests.support.conductors import lives

WAIT_S = 20.0


class Forks:
    """A fork server, and the supervisor's ends of its workers' lines. The workers wait for what to do."""

    def __init__(self, config: Config) -> None:
        self.server = ForkServer(config.model_dump(mode="json"), node="alice")
        self.server.start()
        assert self.server._process is not None
        self.process = psutil.Process(self.server._process.pid)
        self.lines: dict[str, socket.socket] = {}
        self.told: list[Message] = []

    def fork(self, *owners: str) -> None:
        for owner in owners:
            self.lines[owner], theirs = socket.socketpair()
            self.server.fork(owner, f"jobrunner {owner}", theirs)
            theirs.close()
        until(lambda: len(self.process.children()) == len(self.lines), within=WAIT_S)

    def until_told(self, what: Message) -> None:
        while not any(what.items() <= told.items() for told in self.told):
            assert select.select([self.server], [], [], WAIT_S)[0], f"{what} not told, but {self.told}"
            received = self.server.receive()
            assert received is not None
            self.told += received

    def close(self) -> None:
        self.server.end(at_once=True)
        for line in self.lines.values():
            line.close()


@pytest.fixture
def forks(sqlite_url: str) -> Iterator[Forks]:
    found = Forks(Config(persistence=PersistenceSection(url=sqlite_url)))
    yield found
    found.close()


def test_a_worker_that_is_killed_is_told_and_its_line_ends_while_its_brothers_live(forks: Forks) -> None:
    forks.fork("one", "two", "three")
    forks.server.kill("two")
    forks.until_told({"kind": "ended", "owner": "two", "code": -signal.SIGKILL})
    forks.lines["two"].settimeout(WAIT_S)
    assert forks.lines["two"].recv(1) == b""
    assert len(forks.process.children()) == 2
    assert not select.select([forks.lines["one"], forks.lines["three"]], [], [], 0)[0]


def test_a_worker_whose_line_is_closed_ends_by_itself(forks: Forks) -> None:
    forks.fork("one")
    forks.lines["one"].close()
    forks.until_told({"kind": "ended", "owner": "one", "code": 70})


def test_workers_are_named_and_in_sessions_of_their_own(forks: Forks) -> None:
    forks.fork("one", "two")
    workers = forks.process.children()
    until(lambda: sorted(worker.name() for worker in workers) == ["jobrunner one", "jobrunner two"])
    assert {os.getsid(worker.pid) for worker in workers} == {worker.pid for worker in workers}


@pytest.mark.parametrize("at_once", [False, True])
def test_no_worker_outlives_the_server(forks: Forks, at_once: bool) -> None:
    forks.fork("one", "two")
    workers = forks.process.children()
    os.kill(workers[0].pid, signal.SIGSTOP)
    forks.until_told({"kind": "ready"})
    assert forks.server.end(at_once=at_once) == (-signal.SIGKILL if at_once else 0)
    until(lambda: not any(lives(worker.pid) for worker in workers), within=WAIT_S)
    assert not forks.server.is_running


def test_a_server_that_does_not_heed_hangs(forks: Forks) -> None:
    forks.fork("one")
    forks.until_told({"kind": "ready"})
    now = boottime()
    assert not forks.server.hangs(now + 2 * ANSWER_S)  # nothing was asked
    forks.process.suspend()
    forks.server.kill("one")
    assert not forks.server.hangs(boottime())
    assert forks.server.hangs(boottime() + ANSWER_S + 1)
    later = boottime() + 100
    forks.server.excuse(later)
    assert not forks.server.hangs(later + 1)
    forks.process.resume()
    forks.until_told({"kind": "alive"})
    assert not forks.server.hangs(boottime() + 2 * ANSWER_S)


def test_there_is_nothing_in_it_that_a_fork_must_not_copy() -> None:
    """Nobody is at home at these addresses, which it must not find out."""
    config = Config(
        persistence=PersistenceSection(url="mysql+pymysql://nobody@127.0.0.1:1/none"),
        board=BoardSection(url="redis://127.0.0.1:1/0"),
    )
    forks = Forks(config)
    forks.until_told({"kind": "ready"})
    assert forks.process.num_threads() == 1
    assert not forks.process.net_connections(kind="inet")
    forks.close()


def test_a_message_that_comes_in_pieces_is_not_the_end(forks: Forks) -> None:
    forks.until_told({"kind": "ready"})
    assert forks.server._channel is not None
    forks.server._channel._socket.sendall(b'{"kind": "kill", "signal": 9, ')
    assert not select.select([forks.server], [], [], 0.2)[0]
    forks.server._channel._socket.sendall(b'"owner": "nobody"}\n')
    forks.until_told({"kind": "alive"})


def test_it_can_be_started_again(forks: Forks) -> None:
    forks.process.kill()
    assert select.select([forks.server], [], [], WAIT_S)[0]
    assert forks.server.receive() is None
    assert forks.server.end() == -signal.SIGKILL
    forks.server.start()
    forks.until_told({"kind": "ready"})


def ignore(number: int, frame: FrameType | None) -> None:
    """A signal ends a wait; that is all."""


def test_a_worker_that_cannot_be_forked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(fork_server.os, "fork", no_room)
    ours, theirs = socket.socketpair()
    line, workers_end = socket.socketpair()
    supervisor = Channel(ours)
    supervisor.send("fork", descriptor=workers_end.fileno(), owner="one", name="one")
    workers_end.close()
    supervisor.send("end")
    with Wakeup(ignore) as wakeup:
        fork_server._ForkServer(Channel(theirs, takes_descriptors=True), wakeup).run()
    told = supervisor.receive()
    assert told is not None
    assert (told[0]["kind"], told[0]["owner"]) == ("not_started", "one")
    assert line.recv(1) == b""  # nobody holds the other end
    for end in (ours, theirs, line):
        end.close()
