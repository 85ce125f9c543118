"""What there is to back up: walking the source, leaving things out, and keeping the list in a file."""

from __future__ import annotations

import fnmatch
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.builtin.support.lines import printable
from flows.builtin.support.pacing import check_stop

EXCLUDE = [
    "__pycache__/",
    ".cache/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".tox/",
    ".venv/",
    "node_modules/",
    "lost+found/",
]
"""What can be made again from the rest."""

MAX_NOTES = 50
MAX_NOTE_LENGTH = 500

_OTHER_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file, directory or symbolic link; ``path`` is relative to the source, empty for the source itself."""

    path: str
    kind: str
    size: int = 0

    def to_line(self) -> bytes:
        # ASCII with escapes: carries names that are no valid text unchanged.
        return json.dumps([self.path, self.kind, self.size]).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        path, kind, size = json.loads(line)
        return cls(path=path, kind=kind, size=size)


class Notes:
    """Things worth telling about single files: printed, counted, and the first few kept for the result."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self.count = 0
        self.kept: list[dict[str, str]] = []

    def add(self, path: str, reason: str) -> None:
        self.count += 1
        note = {"path": printable(path)[:MAX_NOTE_LENGTH], "reason": printable(reason)[:MAX_NOTE_LENGTH]}
        if len(self.kept) < MAX_NOTES:
            self.kept.append(note)
        print(f"{self._verb} {note['path']}: {note['reason']}")

    def to_json(self) -> dict[str, Any]:
        return {self._verb: self.kept, f"{self._verb}_count": self.count}


def merged_notes(verb: str, *results: Mapping[str, Any]) -> dict[str, Any]:
    """The notes of several atoms' results as one."""
    kept = [note for result in results for note in result[verb]]
    return {verb: kept[:MAX_NOTES], f"{verb}_count": sum(result[f"{verb}_count"] for result in results)}


def why(error: OSError) -> str:
    return "vanished" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()


class Patterns:
    """What to leave out, by shell patterns on names, or on paths if a pattern has a slash inside."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [self._rule(pattern) for pattern in patterns]

    @staticmethod
    def _rule(pattern: str) -> tuple[str, bool, bool]:
        only_directories = pattern.endswith("/")
        body = pattern.rstrip("/")
        return body.lstrip("/"), only_directories, "/" in body

    def match(self, path: str, is_directory: bool) -> bool:
        name = path.rpartition("/")[2]
        return any(
            fnmatch.fnmatchcase(path if whole else name, body)
            for body, only_directories, whole in self._rules
            if is_directory or not only_directories
        )


class Walk:
    """Walks a directory, always in the same order; iterating yields entries, and what is left out is counted.

    ``barred`` is a directory that is not entered: the destination, by device and inode, so that no link hides it.
    """

    def __init__(self, source: Path, patterns: Patterns, barred: Path) -> None:
        self._source = source
        self._patterns = patterns
        self._barred = _identity(os.stat(barred))
        self.skipped = Notes("skipped")
        self.excluded = 0

    def __iter__(self) -> Iterator[Entry]:
        yield Entry(path="", kind="dir")
        pending = [""]
        while pending:
            check_stop()
            directories = []
            for entry in self._list(pending.pop()):
                yield entry
                if entry.kind == "dir":
                    directories.append(entry.path)
            pending.extend(reversed(directories))

    def _list(self, directory: str) -> Iterator[Entry]:
        try:
            names = sorted(os.listdir(self._source / directory))
        except OSError as error:
            if not directory:
                raise  # an archive of nothing would look like a backup
            self.skipped.add(directory, why(error))
            return
        for name in names:
            path = f"{directory}/{name}" if directory else name
            entry = self._look(path)
            if entry is not None:
                yield entry

    def _look(self, path: str) -> Entry | None:
        try:
            status = os.lstat(self._source / path)
        except OSError as error:
            self.skipped.add(path, why(error))
            return None
        kind = stat.S_IFMT(status.st_mode)
        if self._patterns.match(path, kind == stat.S_IFDIR) or _identity(status) == self._barred:
            self.excluded += 1
            return None
        if kind == stat.S_IFREG:
            return Entry(path=path, kind="file", size=status.st_size)
        if kind == stat.S_IFDIR:
            return Entry(path=path, kind="dir")
        if kind == stat.S_IFLNK:
            return Entry(path=path, kind="link")
        self.skipped.add(path, _OTHER_KINDS.get(kind, "not a file"))
        return None


def read_manifest(file: Path) -> Iterator[Entry]:
    with open(file, "rb") as lines:
        for line in lines:
            yield Entry.from_line(line)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


Report = Callable[[float, str], None]


class Meter:
    """Turns work done into progress: bytes, and a little for every file, so that empty ones count too."""

    FILE_BYTES = 4096

    def __init__(self, report: Report, *, size: int, files: int = 0, message: str = "") -> None:
        self._report = report
        self._total = max(1, size + files * self.FILE_BYTES)
        self._files = files
        self._done = 0
        self._begun = 0
        self._message = message

    def begin(self, path: str) -> None:
        """A file is begun; it is what the messages name until the next."""
        self._begun += 1
        self._message = f"{self._begun}/{self._files} {printable(path)[-MAX_NOTE_LENGTH:]}"
        self.add(self.FILE_BYTES)

    def add(self, size: int) -> None:
        self._done += size
        # Never 1: that is the atom's end, and a file that grew since the scan must not announce it.
        self._report(min(self._done / self._total, 0.999), self._message)
