"""The command line as a person uses it: a process of its own, with a home that holds nothing of theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def write(self, files: Mapping[str, str]) -> None:
        """Write text files below its directory."""
        for name, content in files.items():
            file = self.home / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
