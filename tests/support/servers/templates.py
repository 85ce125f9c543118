"""Freshly initialised data directories, made once and copied for every server."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path


def copy_template(kind: str, recipe: list[str], make: Callable[[Path], None], target: Path) -> None:
    """Copy the template of ``kind`` to ``target``, which must not exist; ``make`` makes it where it is missing.

    ``recipe`` is all that it depends on (program, version, options): another recipe is another template.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobrunner-tests"
    cache.mkdir(parents=True, exist_ok=True)
    template = cache / f"{kind}-{sha256(repr(recipe).encode()).hexdigest()[:12]}"
    with file_lock(cache / f"{kind}.lock"):
        if not template.exists():
            _make_whole(make, template)
    subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(target)], check=True)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock on ``path`` against other processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_whole(make: Callable[[Path], None], template: Path) -> None:
    """Make it elsewhere and move it into place at once, so that no half of one is ever found."""
    # Not in the cache: another user, as whom some servers run, may not enter the home directory.
    workshop = Path(tempfile.mkdtemp(prefix="jobrunner-template-"))
    workshop.chmod(0o711)
    arriving = template.with_suffix(".new")
    try:
        make(workshop / "data")
        shutil.rmtree(arriving, ignore_errors=True)
        subprocess.run(["cp", "-a", str(workshop / "data"), str(arriving)], check=True)
        arriving.rename(template)
    finally:
        shutil.rmtree(workshop)
