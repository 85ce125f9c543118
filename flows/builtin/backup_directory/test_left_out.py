"""What is left out of a backup, on purpose or because it cannot be read, and how that is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from flows.builtin.backup_directory.manifest import MAX_NOTES, Patterns
from flows.builtin.backup_directory.testing import (
    Point,
    Run,
    broken,
    names_in,
    tree_of,
    unpacked,
)


@pytest.mark.parametrize(
    ("pattern", "path", "is_directory", "expected"),
    [
        ("*.pyc", "a/b.pyc", False, True),
        ("*.pyc", "a/b.py", False, False),
        ("cache/", "a/cache", True, True),
        ("cache/", "a/cache", False, False),
        ("cache", "a/cache", False, True),
        ("a/*.txt", "a/b.txt", False, True),
        ("a/*.txt", "b/a/b.txt", False, False),
        ("/top", "top", False, True),
        ("/top", "a/top", False, False),
        ("*", "anything", False, True),
    ],
)
def test_patterns(pattern: str, path: str, is_directory: bool, expected: bool) -> None:
    assert Patterns([pattern]).match(path, is_directory) is expected


def test_excluded_files_are_not_archived(run: Run, source: Path, tmp_path: Path) -> None:
    (source / ".cache").mkdir()
    (source / ".cache" / "junk").write_text("junk")
    by_default = run()
    assert by_default["excluded"] == 1
    result = run(exclude=["*.txt", "docs/deep/"])
    assert result["excluded"] == 3
    kept = tree_of(unpacked(Path(result["archive"]), tmp_path / "unpacked"))
    assert set(kept) == {
        ".", ".cache", ".cache/junk", "docs", "docs/b.bin", "empty", "link", "broken link",
    }  # fmt: skip


def test_what_is_no_file_is_skipped_and_told(run: Run, source: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        result = run()
    assert result["skipped"] == [
        {"path": "pipe", "reason": "a named pipe"},
        {"path": "socket", "reason": "a socket"},
    ]


def test_many_skipped_files_are_counted_and_some_named(run: Run, source: Path) -> None:
    for number in range(MAX_NOTES + 10):
        os.mkfifo(source / f"pipe{number}")
    result = run()
    assert result["skipped_count"] == MAX_NOTES + 10
    assert len(result["skipped"]) == MAX_NOTES


def deny(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    """Make a file unreadable for root as well, who may read everything."""
    whole = os.open

    def open_(path: Any, *args: Any, **kwargs: Any) -> int:
        if os.fspath(path) == os.fspath(denied):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)


def test_an_unreadable_file_is_skipped_and_told(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, source / "a.txt")
    result = run()
    assert result["skipped"] == [{"path": "a.txt", "reason": "permission denied"}]
    assert result["files"] == 4
    assert not (unpacked(Path(result["archive"]), tmp_path / "unpacked") / "a.txt").exists()


def test_an_unreadable_source_is_a_failure(
    run: Run, source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.listdir

    def listdir(path: Any = ".") -> list[Any]:
        if os.fspath(path).rstrip("/") == os.fspath(source):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return whole(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(PermissionError):
        run()
    assert names_in(destination) == []


def test_a_file_that_vanishes_after_the_scan_is_skipped_and_told(run: Run, source: Path) -> None:
    with broken(Point(atom="scan", function="tasks:Scan.execute", after=True), (source / "a.txt").unlink):
        result = run()
    assert result["skipped"] == [{"path": "a.txt", "reason": "vanished"}]


def test_a_file_that_became_a_pipe_does_not_hold_the_backup_up(run: Run, source: Path) -> None:
    def replace() -> None:
        (source / "a.txt").unlink()
        os.mkfifo(source / "a.txt")

    with broken(Point(atom="scan", function="tasks:Scan.execute", after=True), replace):
        result = run()
    assert result["skipped"] == [{"path": "a.txt", "reason": "is no longer a file"}]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (100, "became shorter while it was read; filled up with zeros"),
        (600_000, "was written to while it was read"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_told_and_the_archive_valid(
    run: Run, source: Path, tmp_path: Path, size: int, reason: str
) -> None:
    """It changes after its header, with its size, was made and before its first byte is read."""
    changing = source / "docs" / "b.bin"
    point = Point(atom="archive", function="archiving:MemberReader.__init__", nth=3)
    with broken(point, lambda: os.truncate(changing, size)):
        result = run()
    assert result["changed"] == [{"path": "docs/b.bin", "reason": reason}]
    archived = unpacked(Path(result["archive"]), tmp_path / "unpacked") / "docs" / "b.bin"
    assert archived.stat().st_size == 512_000
    assert archived.read_bytes()[:100] == changing.read_bytes()[:100]
