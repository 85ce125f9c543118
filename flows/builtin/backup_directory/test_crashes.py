"""A backup whose process was killed: it is resumed where it stopped, or undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.builtin.backup_directory import work
from flows.builtin.backup_directory.testing import (
    ATOMS,
    LATE_POINTS,
    POINTS,
    Backup,
    Point,
    broken,
    make_old,
    names_in,
    tree_of,
    unpacked,
    with_sidecars,
    work_file,
)
from flows.builtin.backup_directory.work import CannotUndo, WorkFilesMissing


@pytest.mark.parametrize("point", POINTS + LATE_POINTS, ids=str)
def test_after_a_crash_it_is_resumed_where_it_stopped(
    crashed: Callable[[Point], Backup], source: Path, destination: Path, tmp_path: Path, point: Point
) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3)]
    backup = crashed(point)
    result = backup.resume()
    assert backup.done == ATOMS[ATOMS.index(point.atom) :]
    archive = Path(result["archive"])
    assert names_in(destination) == with_sidecars(old[2], archive.name)
    assert tree_of(unpacked(archive, tmp_path / "unpacked")) == tree_of(source)
    if point != LATE_POINTS[1]:  # there the list of what was removed went with the work directory
        assert result["pruned"] == old[:2]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_after_a_crash_a_cancelled_job_leaves_everything_as_it_was(
    crashed: Callable[[Point], Backup], destination: Path, point: Point
) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3)]
    backup = crashed(point)
    with pytest.raises(InterruptedError):
        backup.resume(cancelled=point.atom)
    assert names_in(destination) == with_sidecars(*old)


def test_after_a_crash_that_deleted_old_archives_a_cancelled_job_keeps_the_new_one(
    crashed: Callable[[Point], Backup], destination: Path
) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3)]
    backup = crashed(LATE_POINTS[0])
    with pytest.raises(CannotUndo, match="are deleted already"):
        backup.resume(cancelled="prune")
    (new,) = [name for name in names_in(destination) if name.endswith(".tar.gz") and name not in old]
    assert names_in(destination) == with_sidecars(old[2], new)


@pytest.mark.parametrize("atom", ATOMS[1:5])
def test_on_a_machine_without_the_work_files_it_fails_and_says_where_they_are(
    crashed: Callable[[Point], Backup],
    destination: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    atom: str,
) -> None:
    backup = crashed(next(point for point in POINTS if point.atom == atom))
    here = work.this_machine()
    destination.rename(tmp_path / "on the other machine")
    destination.mkdir()
    monkeypatch.setattr(work, "this_machine", lambda: "elsewhere")
    with pytest.raises(CannotUndo, match=f"on {here}, out of reach of elsewhere"):
        backup.resume()
    failure = backup.failures[atom]
    assert failure.check(WorkFilesMissing)
    assert f"on {here}, and this is elsewhere" in failure.exception_str
    assert names_in(destination) == []


def test_work_files_that_somebody_removed_are_told(
    crashed: Callable[[Point], Backup], destination: Path
) -> None:
    backup = crashed(POINTS[2])
    work_file(destination, "manifest").unlink()
    with pytest.raises(WorkFilesMissing, match="are gone from"):
        backup.resume()
    assert names_in(destination) == []


def test_what_a_crashed_execution_wrote_does_not_wait_for_the_end(
    crashed: Callable[[Point], Backup], destination: Path
) -> None:
    """A half-written archive can be as large as the disk is free."""
    backup = crashed(POINTS[2])
    left = work_file(destination, "archive")
    seen: list[Path] = []
    with broken(POINTS[2], lambda: seen.append(work_file(destination, "archive"))):
        backup.resume()
    assert len(seen) == 1
    assert seen != [left]


def test_an_earlier_owner_that_still_writes_does_no_harm(
    crashed: Callable[[Point], Backup], source: Path, destination: Path, tmp_path: Path
) -> None:
    """Its file has another name, and is gone from the directory; what it writes reaches nobody."""
    backup = crashed(POINTS[2])
    with open(work_file(destination, "archive"), "ab") as zombie:
        archive = Path(backup.resume()["archive"])
        zombie.write(b"garbage")
    assert tree_of(unpacked(archive, tmp_path / "unpacked")) == tree_of(source)
