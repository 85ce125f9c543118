"""The command line as a person uses it: a process of its own, with a home that holds nothing of theirs.

Its process is a warm one (see :mod:`tests.support.warm`), unless it is ``cold``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.support import warm

SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """jobrunner in a directory of its own; ``home`` is where its user's files are."""

    home: Path
    cold: bool = False

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of its processes: nothing of jobrunner's from outside, and plain text."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("JOBRUNNER_", "XDG_"))
        }
        return {**clean, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "NO_COLOR": "1", **variables}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "jobrunner", *arguments]

    def __call__(self, *arguments: str, **variables: str) -> Done:
        """Run it to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = warm.start(
                arguments,
                cwd=self.home,
                env=self.environment(**variables),
                stdout=out,
                stderr=err,
                cold=self.cold,
            )
            try:
                code = process.wait(SECONDS)
            finally:
                process.kill()
            return Done(code=code, out=text_of(out), err=text_of(err))

    def write(self, files: Mapping[str, str]) -> None:
        """Write text files below its directory."""
        for name, content in files.items():
            file = self.home / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")


def text_of(file: IO[bytes]) -> str:
    """All that is in a file, with the ends of lines as Python has them."""
    with open(file.fileno(), encoding="utf-8", closefd=False) as text:
        text.seek(0)
        return text.read()
