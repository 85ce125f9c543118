"""The fork server: a process of a conductor that has imported all that a worker needs, and forks workers on demand.

A worker so costs a few hundredths of a second rather than the second of processor time that the imports take, and
shares their memory with the others. See docs/decisions/0011-fork-server.md.

To be safe to fork from it has one thread, no connection, and nobody's plugins: each worker loads those itself. It is
the workers' parent: the kernel ends them with it, and it with the supervisor.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import traceback
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from jobrunner import worker_entry
from jobrunner.conductor.channel import Channel, Message
from jobrunner.conductor.isolation.accounts import Account, become
from jobrunner.conductor.isolation.descent import signal_descendants
from jobrunner.conductor.isolation.guardian import END, NAME, Report, guard, read_reports
from jobrunner.conductor.isolation.sessions import signal_session
from jobrunner.conductor.parent import call_it, end_with
from jobrunner.conductor.supervisor.wakeup import Wakeup


def serve(descriptor: int, parent: int) -> None:
    """Fork workers at the word of the supervisor at the other end of this line, until it is gone; does not return.

    :param parent: the supervisor's process id
    """
    worker_entry.leave_signals_to_supervisor()
    end_with(parent)
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor), takes_descriptors=True)
    with Wakeup(_note) as wakeup:
        _ForkServer(channel, wakeup).run()
    os._exit(0)


def _note(number: int, frame: FrameType | None) -> None:
    """A signal did its work by ending the wait."""


_WANTED = (
    "jobrunner.conductor.engine.capture",
    "jobrunner.conductor.worker.worker",
    "jobrunner.plugins.discovery",
    "jobrunner.plugins.holds",
    "jobrunner.plugins.parameters",
    "jobrunner.plugins.shapes",
    "taskflow.patterns.graph_flow",
    "taskflow.patterns.linear_flow",
    "taskflow.patterns.unordered_flow",
)
"""What brings along all of a worker, and what nearly every plugin wants."""


def _import_all(config: dict[str, Any]) -> None:
    """Import all that a worker needs, with the drivers of this configuration; nothing is connected."""
    for name in _WANTED:
        importlib.import_module(name)
    from jobrunner.assemble import make_database
    from jobrunner.boards import open_board
    from jobrunner.config import Config
    from jobrunner.errors import JobrunnerError

    with contextlib.suppress(JobrunnerError):  # a worker will say it, where it is looked for
        chosen = Config.model_validate(config)
        database = make_database(chosen)
        open_board(chosen.board_url, database=database, prefix=chosen.board.prefix).close()
        database.close()
    gc.collect()
    gc.freeze()  # so that no worker's collections write to the pages that all of them share


@dataclass(frozen=True, slots=True)
class _Child:
    """A worker that lives; one that is alone has its guardian here, who tells in ``report`` how it ended."""

    owner: str
    report: int | None = None


class _ForkServer:
    """The workers that live, by process id, and the supervisor's words about them."""

    def __init__(self, channel: Channel, wakeup: Wakeup) -> None:
        self._channel = channel
        self._wakeup = wakeup
        self._children: dict[int, _Child] = {}
        # No epoll: its set would be shared with every worker.
        self._selector = selectors.PollSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._selector.register(wakeup, selectors.EVENT_READ)

    def run(self) -> None:
        """Until the supervisor says so or is gone; then no worker lives any more."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakeup:
                    self._wakeup.clear()
                elif not self._heed():
                    self._end_all()
                    return
            self._reap()

    def _heed(self) -> bool:
        """Do what the supervisor says by now; False if this is the end."""
        received = self._channel.receive()
        if received is None:
            return False
        for message in received:
            kind = message["kind"]
            if kind == "end":
                return False
            if kind == "setup":
                _import_all(message["config"])
                self._channel.send("ready")
            elif kind == "fork":
                self._fork(message)
            elif kind == "kill":
                self._kill(message["owner"], message["signal"])
        return True

    def _fork(self, message: Message) -> None:
        line, server = self._channel.descriptors.popleft(), os.getpid()
        report = reports = None
        try:
            if message.get("alone"):
                report, reports = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            pid = os.fork()
        except OSError as error:
            self._channel.send("not_started", owner=message["owner"], error=str(error))
            _close(report)
        else:
            if not pid:
                self._be_child(line, server, message, reports)
            self._children[pid] = _Child(message["owner"], report)
        _close(line)
        _close(reports)

    def _be_child(self, line: int, server: int, message: Message, reports: int | None) -> None:
        """What a forked process does; does not return, whatever happens."""
        try:
            end_with(server)
            os.setsid()  # a Ctrl-C does not reach it
            self._let_go()
            if reports is None:
                _be_worker(line, message)
            else:
                call_it(NAME)
                guard(lambda: _be_worker(line, message), parent=server, reports=reports, lines=[line])
        except BaseException:  # noqa: BLE001 - the edge of a process
            traceback.print_exc()
        finally:
            os._exit(1)

    def _let_go(self) -> None:
        """A child has nothing to do with what the server waits for."""
        self._wakeup.__exit__(None, None, None)
        self._selector.close()
        self._channel.close()
        for child in self._children.values():
            _close(child.report)

    def _kill(self, owner: str, number: int) -> None:
        """Signal a worker. Until it is reaped, which only this process does, nobody else has its process id."""
        for pid, child in self._children.items():
            if child.owner == owner:
                self._signal(pid, child, number)
        self._channel.send("alive")

    def _signal(self, pid: int, child: _Child, number: int) -> None:
        """Signal a worker, and if it is alone all that it has started."""
        if child.report is None:
            os.kill(pid, number)
        elif number != signal.SIGKILL:
            signal_descendants(pid, number)
        else:
            os.kill(pid, END)
            os.kill(pid, signal.SIGCONT)  # if somebody stopped it

    def _reap(self) -> None:
        """Tell of the workers that ended."""
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            child = self._children.pop(pid)
            ended = Report(code=os.waitstatus_to_exitcode(status))
            if child.report is not None:
                ended = _last_report(child.report, ended)
            self._channel.send("ended", owner=child.owner, **asdict(ended))

    def _end_all(self) -> None:
        for pid, child in self._children.items():
            self._signal(pid, child, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)


def _be_worker(line: int, message: Message) -> None:
    call_it(message["name"])
    if message["account"] is not None:
        parent = os.getppid()
        become(Account.from_json(message["account"]))
        end_with(parent)  # who changes its user loses that
    worker_entry.start(line)


def _last_report(pipe: int, guardians: Report) -> Report:
    """How a worker ended that was alone. If somebody killed its guardian, what is of its session still ends here."""
    pid, report = read_reports(pipe)
    if report is None and pid is not None:
        signal_session(pid, signal.SIGKILL)
    os.close(pipe)
    return report or guardians


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
