"""Giving an archive its final name, and taking the names of old ones away."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
from collections.abc import Sequence
from pathlib import Path

from flows.builtin.backup_directory.naming import SIDECAR_SUFFIX, OwnArchive
from flows.builtin.backup_directory.work import remove_tree, sync_directory

TRASH_PREFIX = ".trash-"

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class NameTaken(Exception):
    """A file of the archive's final name is there already, and it is another one."""


def place(file: Path, final: Path) -> None:
    """Give ``file`` the name ``final`` as well, never over a file that has it; fine if it was done before.

    The name appears at once and with the whole content, or not at all. Raises NameTaken.
    """
    try:
        os.link(file, final)
    except FileExistsError as error:
        if not same_content(file, final):
            raise NameTaken(
                f"{final} is there already and is not this backup's; it was left alone"
            ) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _place_without_links(file, final)


def _place_without_links(file: Path, final: Path) -> None:
    """For file systems without hard links: a rename, which takes the file out of the work directory.

    Between the look and the rename somebody could make a file of this name. The name holds the job's token, so that
    would be done on purpose; the look is for mistakes.
    """
    if os.path.lexists(final):
        raise NameTaken(f"{final} is there already; it was left alone")
    os.rename(file, final)


def same_content(file: Path, final: Path) -> bool:
    """Whether ``final`` is ``file``, or has the same bytes."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samefile(file, final) or (
            final.is_file() and not final.is_symlink() and filecmp.cmp(file, final, shallow=False)
        )
    return False


class Trash:
    """Where old archives wait, inside the destination, until nothing can fail any more.

    :meth:`take` can be undone by :meth:`give_back`; after :meth:`commit` no more. Each may be called again after it
    was interrupted.
    """

    _COMMITTED = "committed.json"

    def __init__(self, destination: Path, token: str) -> None:
        self._destination = destination
        self._directory = destination / f"{TRASH_PREFIX}{token}"

    def take(self, archives: Sequence[OwnArchive]) -> list[str]:
        """Move archives with their checksums' files here; return the names of those that cannot be moved."""
        if not archives and not self._directory.is_dir():
            return []
        self._directory.mkdir(mode=0o700, exist_ok=True)
        stuck = []
        for archive in archives:
            try:
                self._move(archive.file)
            except OSError as error:
                print(f"cannot remove the old archive {archive.file}: {error.strerror}")
                stuck.append(archive.file)
        # An archive that an interrupted execution took may have left its checksum's file behind.
        for name in self._waiting():
            if not name.endswith(SIDECAR_SUFFIX):
                self._move(name + SIDECAR_SUFFIX)
        sync_directory(self._destination)
        return stuck

    def _move(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another backup into the same destination was quicker
            os.rename(self._destination / name, self._directory / name)

    def commit(self) -> list[str]:
        """Delete what was taken, for good; return the names, those of an interrupted commit included."""
        if not self._directory.is_dir():
            return []
        names = sorted({*self._committed(), *self._waiting()})
        _write_durably(self._directory / self._COMMITTED, json.dumps(names))
        sync_directory(self._directory)
        for name in self._waiting():
            (self._directory / name).unlink(missing_ok=True)
        remove_tree(self._directory)  # with the list, which so goes last
        sync_directory(self._destination)
        return names

    def give_back(self) -> list[str]:
        """Move back what is here; return the names of the files that a commit has deleted already."""
        if not self._directory.is_dir():
            return []
        names = self._committed()
        for name in self._waiting():
            place(self._directory / name, self._destination / name)
        sync_directory(self._destination)
        remove_tree(self._directory)
        return [name for name in names if not (self._destination / name).exists()]

    def _committed(self) -> list[str]:
        try:
            names: list[str] = json.loads((self._directory / self._COMMITTED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return names

    def _waiting(self) -> list[str]:
        return [name for name in os.listdir(self._directory) if not name.startswith(self._COMMITTED)]


def _write_durably(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".tmp")
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
