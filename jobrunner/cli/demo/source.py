"""The directory that the demo backs up, and how fast, so that there is time to watch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jobrunner
from jobrunner.errors import UsageError

EXCLUDE = (
    *(".git/", ".venv/", "venv/", ".tox/", "node_modules/", "__pycache__/", "*.egg-info/"),
    *(".cache/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".import_linter_cache/", ".hypothesis/"),
)
"""Patterns of backup_directory: what can be made again from the rest."""

ATOM_S = 1.3
"""How long an atom that reads all of it shall take: long enough to be killed in its middle."""
MEMBER_BYTES = 1536
"""What a tar file holds of a member beside its content: a header, and an extended one for exact times."""
BLOCK_BYTES = 512
RECORD_BYTES = 10_240


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A directory, and about how large its archive becomes."""

    path: Path
    archive_bytes: int
    exclude: tuple[str, ...] = EXCLUDE

    @property
    def rate(self) -> int:
        """Bytes a second at which reading the archive takes ATOM_S."""
        return max(1, int(self.archive_bytes / ATOM_S))


def find_source(named: str | None) -> Source:
    """The named directory, or jobrunner's own; raises UsageError if there is nothing to back up."""
    path = own_tree() if named is None else Path(os.path.expanduser(named)).resolve()
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory.", hint="Name one, or none to back up jobrunner itself.")
    sizes = list(_file_sizes(path))
    if not sizes:
        raise UsageError(f"{path} holds no files to back up.", hint="Name another directory.")
    blocks = sum(MEMBER_BYTES + -(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes)
    return Source(path=path, archive_bytes=-(-blocks // RECORD_BYTES) * RECORD_BYTES)


def own_tree() -> Path:
    """jobrunner's project directory; the package alone where it is installed without one."""
    package = Path(jobrunner.__file__).resolve().parent
    return package.parent if (package.parent / "setup.py").is_file() else package


def _file_sizes(root: Path) -> Iterator[int]:
    from fnmatch import fnmatch

    patterns = [pattern.rstrip("/") for pattern in EXCLUDE]
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]
        for name in files:
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                yield file.stat().st_size
