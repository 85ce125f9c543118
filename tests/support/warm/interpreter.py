"""A Python that has imported jobrunner, and forks processes which go on as ``python -m jobrunner`` does.

Run as a program with the descriptor of its line and the tree's root. A request on the line is five descriptors: a
file of JSON that says what is asked for, stdin, stdout, stderr, and a pipe over which it tells of the process: its id,
and then how it ended.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from types import FrameType
from typing import Any, NoReturn, TextIO

REQUEST_BYTES = 1 << 18
BESIDE = (
    "alembic.command",
    "alembic.config",
    "alembic.ddl.mysql",
    "alembic.ddl.postgresql",
    "alembic.ddl.sqlite",
    "psycopg",
    "psycopg.types.enum",
    "pymysql",
    "redis",
    "rich.console",
    "rich.live",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "taskflow.engines",
    "taskflow.engines.action_engine.engine",
    "taskflow.patterns.graph_flow",
    "taskflow.patterns.linear_flow",
    "taskflow.patterns.unordered_flow",
    "taskflow.persistence.backends.sqlalchemy.migration",
    "taskflow.persistence.backends.sqlalchemy.tables",
)
"""What jobrunner imports when it is first needed."""


def main(line: socket.socket, root: str) -> None:
    base = sys.path[1:]  # without this program's own directory
    sys.path[:] = [root, *base]
    import_all()
    assert threading.active_count() == 1
    Interpreter(line, base).serve()
    os._exit(0)  # nothing is left that would have to be tidied up


def import_all() -> None:
    """Import jobrunner and what it uses, and use it; no plugins."""
    import jobrunner

    for found in pkgutil.walk_packages(jobrunner.__path__, "jobrunner."):
        if not found.name.endswith("__main__") and ".migrations." not in found.name:
            importlib.import_module(found.name)
    for name in BESIDE:
        importlib.import_module(name)
    use_once()
    gc.collect()
    gc.freeze()  # so that no process's collections write to the pages that all of them share


def use_once() -> None:
    """Run a job on a database of its own: what is compiled at its first use then is so for all processes."""
    from taskflow.patterns import linear_flow

    from tests.support.runs import Note, Runs

    with tempfile.TemporaryDirectory() as directory:
        runs = Runs(f"sqlite:///{directory}/jobrunner.sqlite")
        runs.run(runs.post(lambda: linear_flow.Flow("once").add(Note("a", []), Note("b", []))))
        runs.close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # nothing of the tests is in a process


class Interpreter:
    """The processes that live, each with the pipe over which is told of it."""

    def __init__(self, line: socket.socket, path: list[str]) -> None:
        self._line = line
        self._path = path
        self._tells: dict[int, int] = {}
        # No epoll: its set would be shared with every process.
        self._selector = selectors.PollSelector()

    def serve(self) -> None:
        """Until the test's process is gone; then no process of it lives any more."""
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _heard)
        on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends it with the test run
        self._selector.register(self._line, selectors.EVENT_READ)
        self._selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in self._selector.select()}
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            self._reap()
            if self._line in ready:
                data, files, _, _ = socket.recv_fds(self._line, 16, 5)
                if not data:
                    break
                request, *others = files
                with open(request, "rb") as asked:
                    asked.seek(0)
                    self._fork(json.load(asked), others, on_interrupt)
        for pid in self._tells:
            os.kill(pid, signal.SIGKILL)

    def _fork(self, request: dict[str, Any], files: list[int], on_interrupt: Any) -> None:
        *standard, tells = files
        pid = os.fork()
        if not pid:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, on_interrupt)
                be(request, standard, self._path)
            except BaseException:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
            finally:
                os._exit(1)
        self._tells[pid] = tells
        os.write(tells, b"%d\n" % pid)
        for descriptor in standard:
            os.close(descriptor)

    def _reap(self) -> None:
        while self._tells:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            tells = self._tells.pop(pid)
            os.write(tells, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(tells)


def _heard(number: int, frame: FrameType | None) -> None:
    """A signal did its work by ending the wait."""


# What a process does


def be(request: dict[str, Any], standard: list[int], path: list[str]) -> NoReturn:
    """Go on as the process that was asked for."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None  # it was asked for under the environment of this program
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [request["cwd"], *filter(None, places), *path]
    open_standard_files()
    if request["arguments"][:1] == ["run"]:
        prepare_fork_server()
    sys.argv[:] = ["jobrunner", *request["arguments"]]
    leave(run())


def open_standard_files() -> None:
    """As the interpreter does for pipes and files when it starts."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, _standard_file(number))
        setattr(sys, f"__{name}__", getattr(sys, name))


def _standard_file(number: int) -> TextIO:
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    file: TextIO = open(  # noqa: SIM115 - for as long as the process lives
        number, "r" if number == 0 else "w", encoding="utf-8", errors=errors, closefd=False
    )
    if isinstance(file, io.TextIOWrapper):
        unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
        file.reconfigure(line_buffering=number == 2 or file.isatty(), write_through=unbuffered)
    return file


def run() -> int:
    """Run ``jobrunner/__main__.py``; the exit code."""
    try:
        runpy.run_module("jobrunner", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End as Python does, but for freeing what the end of the process frees."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            file.flush()
    os._exit(code & 0xFF)


# A conductor's fork server would import everything once more


def prepare_fork_server() -> None:
    """Fork what will become the fork server of this process, a conductor, while there is one thread."""
    from jobrunner.conductor.supervisor import forks

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        wait_to_be_fork_server(theirs)
    theirs.close()
    forks.subprocess = _Subprocess(pid, ours)  # type: ignore[assignment]


def wait_to_be_fork_server(line: socket.socket) -> NoReturn:
    code = 1
    try:
        data, files, _, _ = socket.recv_fds(line, REQUEST_BYTES, 1)
        line.close()
        if data:
            request = json.loads(data)
            os.setsid()
            if files[0] != request["descriptor"]:
                os.dup2(files[0], request["descriptor"])
                os.close(files[0])
            sys.argv[:] = ["-c", *request["arguments"]]
            exec(request["program"], {"__name__": "__main__"})
            code = 0
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    finally:
        os._exit(code)


class _Subprocess:
    """Stands for :mod:`subprocess` where a conductor starts its fork server."""

    import subprocess as _real

    DEVNULL = _real.DEVNULL
    TimeoutExpired = _real.TimeoutExpired

    def __init__(self, pid: int, line: socket.socket) -> None:
        self._waiting: tuple[int, socket.socket] | None = (pid, line)

    def Popen(self, command: list[str], *, pass_fds: list[int], **options: Any) -> Any:
        """The process that waits goes on as this one; after that, processes are started as ever."""
        if self._waiting is None:
            return self._real.Popen(command, pass_fds=pass_fds, **options)
        (pid, line), self._waiting = self._waiting, None
        program, *arguments = command[2:]
        request = {"program": program, "arguments": arguments, "descriptor": pass_fds[0]}
        with line:
            socket.send_fds(line, [json.dumps(request).encode()], pass_fds)
        return _Child(pid)


class _Child:
    """A child of this process, as far as its conductor needs that."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._wait(timeout)
        assert self._code is not None
        return self._code

    def _wait(self, timeout: float | None) -> None:
        with open(os.pidfd_open(self.pid)) as ended:
            selector = selectors.PollSelector()
            selector.register(ended, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise _Subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
