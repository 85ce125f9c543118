"""For tests: the places where a backup can break, ways to break it there, and what must be true afterwards.

As a program it reads cases on standard input and runs each in a fork of its own, which is killed where the case says:
a crash as it is, without any ``finally``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taskflow import engines
from taskflow.persistence import backends, models

from flows.builtin.backup_directory import archiving, manifest, publishing, tasks
from flows.builtin.backup_directory.flow import backup_directory
from flows.builtin.backup_directory.naming import SIDECAR_SUFFIX, sidecar_text

ATOMS = ["scan", "archive", "checksum", "verify", "publish", "prune"]
MODULES = {"archiving": archiving, "manifest": manifest, "publishing": publishing, "tasks": tasks}
"""Those that the flow here is made of: who loads plugins, as other tests do, has others from then on."""

Run = Callable[..., dict[str, Any]]
"""A backup of the test's source, with these parameters changed; its result."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The ``nth`` call of a function, before it begins, or after it has returned."""

    atom: str
    function: str
    nth: int = 1
    after: bool = False


POINTS = [
    Point(atom="scan", function="manifest:Entry.to_line", nth=3),
    Point(atom="scan", function="tasks:Scan.execute", after=True),
    Point(atom="archive", function="archiving:ArchiveWriter._add_file", nth=3),
    Point(atom="archive", function="archiving:MemberReader.read", nth=2, after=True),
    Point(atom="archive", function="tasks:Archive.execute", after=True),
    Point(atom="checksum", function="archiving:HashingReader.drain"),
    Point(atom="checksum", function="tasks:Checksum.execute", after=True),
    Point(atom="verify", function="archiving:HashingReader.drain", nth=2),
    Point(atom="verify", function="tasks:Verify.execute", after=True),
    Point(atom="publish", function="tasks:place", nth=2),
    Point(atom="publish", function="tasks:Publish.execute", after=True),
    Point(atom="prune", function="publishing:Trash._move", nth=2, after=True),
    Point(atom="prune", function="publishing:Trash.commit"),
]
"""Where nothing is lost yet: a backup that breaks here can be resumed, and can be undone."""

LATE_POINTS = [
    Point(atom="prune", function="publishing:remove_tree"),
    Point(atom="prune", function="tasks:Prune.execute", after=True),
]
"""Where old archives are gone: it can be resumed, but no more be undone."""


@contextlib.contextmanager
def broken(point: Point, how: Callable[[], None]) -> Iterator[None]:
    """Call ``how`` where the point says."""
    module_name, _, path = point.function.partition(":")
    *owners, name = path.split(".")
    owner: Any = MODULES[module_name]
    for step in owners:
        owner = getattr(owner, step)
    whole = getattr(owner, name)
    calls = 0

    def breaking(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == point.nth
        if now and not point.after:
            how()
        result = whole(*args, **kwargs)
        if now and point.after:
            how()
        return result

    # Only in front, the signature is what TaskFlow reads.
    breaking.__wrapped__ = whole  # type: ignore[attr-defined]
    setattr(owner, name, breaking)
    try:
        yield
    finally:
        setattr(owner, name, whole)


class Backup:
    """One job, recorded in files as a conductor records it, so that another process can go on with it."""

    def __init__(self, records: Path, parameters: Mapping[str, Any], job_id: str) -> None:
        self._records = records
        self._parameters = dict(parameters)
        self._job_id = job_id
        self.done: list[str] = []
        """The atoms that this process finished."""
        self.failures: dict[str, Any] = {}

    def start(self) -> dict[str, Any]:
        """Run it from its beginning."""
        book = models.LogBook("book", uuid=self._job_id)
        detail = models.FlowDetail("backup", uuid=self._job_id)
        book.add(detail)
        with contextlib.closing(self._backend()) as backend:
            with contextlib.closing(backend.get_connection()) as connection:
                connection.upgrade()
                connection.save_logbook(book)
            store = {**self._parameters, "job_id": self._job_id}
            return self._run(engines.load(self._flow(), flow_detail=detail, backend=backend, store=store))

    def resume(self, cancelled: str | None = None) -> dict[str, Any]:
        """Go on with it from its records; the ``cancelled`` atom is taken for a failed one, so that all is undone."""
        with contextlib.closing(self._backend()) as backend:
            with contextlib.closing(backend.get_connection()) as connection:
                book = connection.get_logbook(self._job_id)
            engine = engines.load(self._flow(), flow_detail=book.find(self._job_id), backend=backend)
            if cancelled is not None:
                self._fail(engine, cancelled)
            return self._run(engine)

    @staticmethod
    def _fail(engine: Any, atom: str) -> None:
        from taskflow import states
        from taskflow.types import failure

        engine.compile()
        engine.prepare()
        try:
            raise InterruptedError("cancelled")
        except InterruptedError:
            engine.storage.save(atom, failure.Failure(), states.FAILURE)

    def _run(self, engine: Any) -> dict[str, Any]:
        engine.atom_notifier.register(
            # RUNNING would not do: an atom that was recorded so is started again without telling.
            "SUCCESS",
            lambda _, details: self.done.append(details.get("task_name", "")),
        )
        try:
            engine.run()
        finally:
            self.failures = engine.storage.get_execute_failures()
        backup: dict[str, Any] = engine.storage.fetch("backup")
        return backup

    def _flow(self) -> Any:
        return backup_directory(**self._parameters)

    def _backend(self) -> Any:
        return backends.fetch({"connection": "dir", "path": str(self._records)})


def tree_of(source: Path) -> dict[str, str]:
    """What is in a directory: kinds, contents and link targets by relative path."""
    tree = {".": "dir"}
    for path in source.rglob("*"):
        tree[str(path.relative_to(source))] = _told(path)
    return tree


def _told(path: Path) -> str:
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    return "dir" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def unpacked(archive: Path, into: Path) -> Path:
    """Unpack a published archive with its checksum's file checked; return the directory that was backed up."""
    sidecar = archive.with_name(archive.name + SIDECAR_SUFFIX)
    assert sidecar.read_text() == sidecar_text(hashlib.sha256(archive.read_bytes()).hexdigest(), archive.name)
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="fully_trusted")  # noqa: S202 (made by the test itself)
    (top,) = into.iterdir()
    return top


def names_in(destination: Path) -> list[str]:
    """Everything in the destination, hidden files as well."""
    return sorted(path.name for path in destination.iterdir())


def work_file(destination: Path, stem: str) -> Path:
    """What an atom has written for the next ones, such as ``archive`` or ``checksum``."""
    (file,) = destination.glob(f".partial-*/{stem}-*")
    return file


def make_old(destination: Path, day: int, name: str = "source") -> str:
    """An archive of an earlier backup."""
    file = f"{name}-202001{day:02}T000000Z-0123abcd.tar.gz"
    (destination / file).write_bytes(b"old")
    (destination / (file + SIDECAR_SUFFIX)).write_text(sidecar_text("0" * 64, file))
    return file


def with_sidecars(*files: str) -> list[str]:
    return sorted([*files, *(file + SIDECAR_SUFFIX for file in files)])


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_case(point: Point, records: Path, parameters: Mapping[str, Any], job_id: str) -> str:
    """A case as a line of the program's input."""
    return json.dumps([asdict(point), str(records), dict(parameters), job_id]) + "\n"


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            point, records, parameters, job_id = json.loads(line)
            with (
                open(os.devnull, "w") as null,
                contextlib.redirect_stdout(null),
                broken(Point(**point), kill_me),
            ):
                Backup(Path(records), parameters, job_id).start()
            os._exit(0)
        _, state = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(state), flush=True)


if __name__ == "__main__":
    main()
