"""Names: of a backup, of its archives, and which files in a destination are its archives."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

SUFFIXES = {"gz": ".tar.gz", "xz": ".tar.xz", "none": ".tar"}
SIDECAR_SUFFIX = ".sha256"

_NAME = re.compile(r"[^\W.][\w. +@-]{0,99}")
_TAG_LENGTH = 8


def checked_name(name: str) -> str:
    """Return the name of a backup; raises ValueError if no file name could start with it."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name: {name!r} cannot be used; write at most 100 letters, digits, dots and dashes, "
            "beginning with a letter or a digit"
        )
    return name


def default_name(source: Path) -> str:
    """The name of a backup of ``source`` if none was given."""
    plain = re.sub(r"[^\w.+@-]", "_", source.name).lstrip("._-")
    return plain[:100] or "root"


def default_destination(name: str) -> Path:
    """Where archives go if no place was given: the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "jobrunner" / "backups" / name


def token_of(job_id: str | None) -> str:
    """What marks a job's files: made from its id, so that every execution finds the same; random without one."""
    if job_id is None:
        return uuid.uuid4().hex
    try:
        return uuid.UUID(job_id).hex
    except ValueError:
        return hashlib.sha256(job_id.encode()).hexdigest()[:32]


def stamp_of(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def archive_name(name: str, stamp: str, token: str, compression: str) -> str:
    """The final name: sorts by time, and no other job's can be the same."""
    return f"{name}-{stamp}-{token[:_TAG_LENGTH]}{SUFFIXES[compression]}"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class OwnArchive:
    """A published archive of a backup, in the order in which they were made."""

    stamp: str
    modified_ns: int
    file: str

    @property
    def files(self) -> tuple[str, str]:
        """The archive and its checksum's file."""
        return self.file, self.file + SIDECAR_SUFFIX


def own_archives(destination: Path, name: str) -> list[OwnArchive]:
    """The backup's archives, oldest first.

    A file is one if its name has our form and the checksum's file that we put beside it is there.
    """
    suffixes = "|".join(map(re.escape, SUFFIXES.values()))
    form = re.compile(rf"{re.escape(name)}-(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{{_TAG_LENGTH}}}({suffixes})")
    found = []
    with os.scandir(destination) as entries:
        for entry in entries:
            match = form.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and _has_sidecar(destination, entry.name):
                modified_ns = entry.stat(follow_symlinks=False).st_mtime_ns
                found.append(OwnArchive(stamp=match[1], modified_ns=modified_ns, file=entry.name))
    return sorted(found)


def sidecar_text(sha256: str, file: str) -> str:
    """What ``sha256sum --check`` reads."""
    return f"{sha256}  {file}\n"


def _has_sidecar(destination: Path, file: str) -> bool:
    sidecar = destination / (file + SIDECAR_SUFFIX)
    try:
        text = sidecar.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.fullmatch(rf"[0-9a-f]{{64}}  {re.escape(file)}\n", text) is not None
