"""Whole archives or none, whatever breaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flows.builtin.backup_directory.archiving import VerificationFailed
from flows.builtin.backup_directory.publishing import NameTaken
from flows.builtin.backup_directory.testing import (
    LATE_POINTS,
    POINTS,
    Point,
    Run,
    broken,
    make_old,
    names_in,
    tree_of,
    unpacked,
    with_sidecars,
    work_file,
)
from flows.builtin.backup_directory.work import CannotUndo


def fail() -> None:
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize(
    "point", [point for point in POINTS if not point.function.endswith("execute")], ids=str
)
def test_a_failure_leaves_everything_as_it_was(run: Run, destination: Path, point: Point) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3)]
    with broken(point, fail), pytest.raises(RuntimeError, match="broken on purpose"):
        run(keep=1)
    assert names_in(destination) == with_sidecars(*old)


def test_a_failure_after_old_archives_were_deleted_keeps_the_new_one(run: Run, destination: Path) -> None:
    old = make_old(destination, 1)
    with broken(LATE_POINTS[0], fail), pytest.raises(CannotUndo) as failure:
        run(keep=1)
    assert "deleted already" in str(failure.value)
    assert old in str(failure.value)
    (new,) = [name for name in names_in(destination) if name.endswith(".tar.gz")]
    assert new in str(failure.value)
    assert names_in(destination) == with_sidecars(new)


def corrupt(file: Path, at: float) -> None:
    data = bytearray(file.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("compression", "at"),
    # The last bytes of a compressed file are its own checksum; those of a plain tar file are padding.
    [(compression, at) for compression in ("gz", "xz", "none") for at in (0.0, 0.5)]
    + [("gz", 0.999), ("xz", 0.999)],
)
@pytest.mark.parametrize("before", ["tasks:Checksum.execute", "tasks:Verify.execute"])
def test_a_corrupt_archive_is_never_published(
    run: Run, destination: Path, compression: str, before: str, at: float
) -> None:
    damage = Point(atom="", function=before)
    with (
        broken(damage, lambda: corrupt(work_file(destination, "archive"), at)),
        pytest.raises(VerificationFailed),
    ):
        run(compression=compression)
    assert names_in(destination) == []


def test_an_archive_that_changed_after_its_checksum_is_never_published(run: Run, destination: Path) -> None:
    """The time in the header of a gzip file: no member differs, so only the checksum can tell."""

    def touch() -> None:
        file = work_file(destination, "archive")
        data = bytearray(file.read_bytes())
        data[4] ^= 0xFF
        file.write_bytes(data)

    with (
        broken(Point(atom="", function="tasks:Verify.execute"), touch),
        pytest.raises(VerificationFailed, match="has the checksum"),
    ):
        run()
    assert names_in(destination) == []


def test_a_truncated_archive_is_never_published(run: Run, destination: Path) -> None:
    def truncate() -> None:
        file = work_file(destination, "archive")
        os.truncate(file, file.stat().st_size // 2)

    with (
        broken(Point(atom="", function="tasks:Checksum.execute"), truncate),
        pytest.raises(VerificationFailed),
    ):
        run()
    assert names_in(destination) == []


def test_an_archive_with_less_or_more_than_was_written_is_never_published(
    run: Run, destination: Path
) -> None:
    def shorten() -> None:
        contents = work_file(destination, "contents")
        contents.write_bytes(b"".join(contents.read_bytes().splitlines(keepends=True)[:-1]))

    with (
        broken(Point(atom="", function="tasks:Checksum.execute"), shorten),
        pytest.raises(VerificationFailed, match="holds more than was written"),
    ):
        run()
    assert names_in(destination) == []


def test_an_existing_file_is_never_overwritten(run: Run, destination: Path) -> None:
    taken: list[Path] = []

    def take_the_name() -> None:
        sidecar = work_file(destination, "checksum").read_text()
        taken.append(destination / sidecar.split()[1])
        taken[0].write_text("somebody's")

    with broken(Point(atom="", function="tasks:Publish.execute"), take_the_name), pytest.raises(NameTaken):
        run()
    assert names_in(destination) == [taken[0].name]
    assert taken[0].read_text() == "somebody's"


def test_without_hard_links_it_is_published_by_a_rename(
    run: Run, source: Path, destination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    archive = Path(run()["archive"])
    assert tree_of(unpacked(archive, tmp_path / "unpacked")) == tree_of(source)
    assert names_in(destination) == with_sidecars(archive.name)
    with broken(Point(atom="", function="tasks:Prune.execute"), fail), pytest.raises(RuntimeError):
        run()
    assert names_in(destination) == with_sidecars(archive.name)
