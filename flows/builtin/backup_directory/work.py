"""The work directory of a backup: where it is, what is in it, and how to tell that it is on another machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

WORK_PREFIX = ".partial-"
_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700


class WorkFilesMissing(Exception):
    """The files that earlier atoms of the backup made are not on this machine."""


class CannotUndo(Exception):
    """What the atom did cannot be undone, or not from this machine."""


def this_machine() -> str:
    return socket.gethostname()


def work_directory(destination: Path, token: str) -> Path:
    return destination / f"{WORK_PREFIX}{token}"


def make_work_directory(destination: Path, token: str) -> Path:
    """Make the job's work directory anew; what an earlier execution left in it goes."""
    destination.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    work = work_directory(destination, token)
    remove_tree(work)
    work.mkdir(mode=_PRIVATE_DIRECTORY)
    return work


def open_work(scanned: Mapping[str, Any]) -> Path:
    """The work directory that the scan made; raises WorkFilesMissing if it is not here."""
    work = Path(scanned["work"])
    if (work / scanned["manifest"]).is_file():
        return work
    here, there = this_machine(), scanned["node"]
    if here == there:
        raise WorkFilesMissing(f"the work files of this backup, {work}, are gone from {here}; retry the job")
    raise WorkFilesMissing(
        f"the work files of this backup are in {work} on {there}, and this is {here}, which does not share that "
        f"directory; retry the job to begin anew, or use a destination that all machines share"
    )


def check_reachable(scanned: Mapping[str, Any]) -> None:
    """Raise CannotUndo if the backup was begun on another machine, in a directory that is not shared with this one.

    On a shared disk the destination is the same directory everywhere, down to its inode.
    """
    destination = Path(scanned["destination"])
    if this_machine() == scanned["node"]:
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if destination.stat().st_ino == scanned["destination_inode"]:
            return
    raise CannotUndo(
        f"the files of this backup are in {scanned['work']} on {scanned['node']}, out of reach of {this_machine()}; "
        f"remove that directory there"
    )


@contextlib.contextmanager
def fresh_file(work: Path, stem: str) -> Iterator[tuple[str, IO[bytes]]]:
    """A new file for this execution alone, on the disk when the block ends; removed if the block fails.

    What earlier executions left under the same stem is removed first. The file's name is not used before nor by
    anybody else: a predecessor that still writes has another one.
    """
    discard(work, stem)
    name = f"{stem}-{secrets.token_hex(4)}"
    path = work / name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with open(descriptor, "wb") as file:
            yield name, file
            file.flush()
            os.fsync(file.fileno())
        sync_directory(work)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def discard(work: Path, stem: str) -> None:
    """Remove every execution's file of that stem; fine if there is none, nor a work directory."""
    for path in work.glob(f"{stem}-*"):
        path.unlink(missing_ok=True)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it; fine if it is gone, raises OSError if it cannot be removed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def sync_directory(directory: Path) -> None:
    """Put the directory's names on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
