"""A small directory to back up, a way to do it, and a way to die while doing it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from taskflow import engines

from flows.builtin.backup_directory.flow import backup_directory
from flows.builtin.backup_directory.testing import Backup, Point, Run, crash_case

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("first\n" * 1000)
    (root / "docs" / "b.bin").write_bytes(bytes(range(256)) * 2000)
    (root / "docs" / "deep" / "c").write_text("")
    (root / "docs" / "deep" / os.fsdecode(b"caf\xe9 \n.txt")).write_text("not UTF-8")
    (root / "link").symlink_to("docs/b.bin")
    (root / "broken link").symlink_to("nowhere")
    (root / "z.txt").write_text("last")
    return root


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    directory = tmp_path / "backups"
    directory.mkdir()
    return directory


@pytest.fixture
def run(source: Path, destination: Path) -> Run:
    """Run the whole flow as a conductor does: the parameters go to the factory and into the store."""

    def run_it(**changes: Any) -> dict[str, Any]:
        parameters = {"source": str(source), "destination": str(destination), **changes}
        job_id = parameters.pop("job_id", str(uuid.uuid4()))
        store = {**parameters, "job_id": job_id}
        result: dict[str, Any] = engines.run(backup_directory(**parameters), store=store, engine="serial")[
            "backup"
        ]
        return result

    return run_it


@pytest.fixture(scope="session")
def crasher() -> Iterator[Callable[[str], int]]:
    """Runs a case in a process that is killed; returns the process's exit code."""
    program = "from flows.builtin.backup_directory.testing import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:

        def crash(case: str) -> int:
            process.stdin.write(case)  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return int(process.stdout.readline())  # type: ignore[union-attr]

        yield crash
        process.stdin.close()


@pytest.fixture
def crashed(
    crasher: Callable[[str], int], source: Path, destination: Path, tmp_path: Path
) -> Callable[[Point], Backup]:
    """A backup whose process was killed at a point."""

    def crash(point: Point) -> Backup:
        parameters = {"source": str(source), "destination": str(destination), "keep": 2}
        job_id = str(uuid.uuid4())
        code = crasher(crash_case(point, tmp_path / "records", parameters, job_id))
        assert code == -signal.SIGKILL, f"it was not killed at {point}"
        return Backup(tmp_path / "records", parameters, job_id)

    return crash
