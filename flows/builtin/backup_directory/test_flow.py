"""backup_directory: whole archives or none, whatever breaks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from taskflow import engines, task

from flows.builtin.backup_directory import tasks, work
from flows.builtin.backup_directory.archiving import VerificationFailed
from flows.builtin.backup_directory.flow import backup_directory
from flows.builtin.backup_directory.manifest import MAX_NOTES, Patterns
from flows.builtin.backup_directory.naming import SIDECAR_SUFFIX, sidecar_text
from flows.builtin.backup_directory.publishing import NameTaken
from flows.builtin.backup_directory.testing import (
    ATOMS,
    LATE_POINTS,
    POINTS,
    Backup,
    Point,
    broken,
    crash_case,
    names_in,
    tree_of,
    unpacked,
)
from flows.builtin.backup_directory.work import CannotUndo, WorkFilesMissing
from flows.builtin.support.pacing import Throttle
from jobrunner import stopping

ROOT = Path(__file__).parents[3]

Run = Callable[..., dict[str, Any]]


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


def make_old(destination: Path, day: int, name: str = "source") -> str:
    """An archive of an earlier backup."""
    file = f"{name}-202001{day:02}T000000Z-0123abcd.tar.gz"
    (destination / file).write_bytes(b"old")
    (destination / (file + SIDECAR_SUFFIX)).write_text(sidecar_text("0" * 64, file))
    return file


def with_sidecars(*files: str) -> list[str]:
    return sorted([*files, *(file + SIDECAR_SUFFIX for file in files)])


# What a backup is


@pytest.mark.parametrize("compression", ["gz", "xz", "none"])
def test_a_backup_holds_what_the_source_held(
    run: Run, source: Path, destination: Path, tmp_path: Path, compression: str
) -> None:
    before = tree_of(source)
    result = run(compression=compression)
    archive = Path(result["archive"])
    assert tree_of(unpacked(archive, tmp_path / "unpacked")) == before
    assert names_in(destination) == with_sidecars(archive.name)
    assert archive.stat().st_size == result["size"]
    assert (result["files"], result["bytes"]) == (5, 6000 + 512_000 + 9 + 4)
    assert (result["skipped"], result["changed"], result["pruned"]) == ([], [], [])
    assert archive.stat().st_mode & 0o077 == 0


def test_the_six_atoms(source: Path) -> None:
    assert [atom.name for atom, _ in backup_directory(source).iter_nodes()] == ATOMS


def test_results_are_json_and_small(source: Path, destination: Path, tmp_path: Path) -> None:
    for number in range(300):
        (source / f"{number}.socket").symlink_to(f"target {number}")
    backup = Backup(
        tmp_path / "records", {"source": str(source), "destination": str(destination)}, str(uuid.uuid4())
    )
    result = backup.start()
    assert json.loads(json.dumps(result)) == result
    assert len(json.dumps(result)) < 2000
    assert backup.done == ATOMS


def test_the_default_destination_is_in_the_users_data_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    archive = Path(run(destination=None, name="mine")["archive"])
    assert archive.parent == tmp_path / "data" / "jobrunner" / "backups" / "mine"
    assert archive.name.startswith("mine-")


def test_a_destination_inside_the_source_is_left_out(run: Run, source: Path, tmp_path: Path) -> None:
    inside = source / "docs" / "backups"
    for count in (1, 2):
        result = run(destination=str(inside))
        assert result["files"] == 5
        assert result["excluded"] == 1
        assert len(names_in(inside)) == 2 * count


def test_a_destination_that_is_the_source_is_refused(run: Run, source: Path) -> None:
    with pytest.raises(ValueError, match="the destination is the source itself"):
        run(destination=str(source))


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_source_that_is_no_directory_is_refused(
    run: Run, source: Path, destination: Path, kind: str
) -> None:
    with pytest.raises(NotADirectoryError, match="not a directory on this machine"):
        run(source=str(source / ("nowhere" if kind == "missing" else "a.txt")))
    assert names_in(destination) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"keep": 0}, "keep: 0 is less than 1"),
        ({"name": "../evil"}, "name: '../evil' cannot be used"),
        ({"name": ".hidden"}, "cannot be used"),
        ({"max_rate": "fast"}, "'fast' is not a size"),
    ],
)
def test_wrong_parameters_are_refused_when_the_job_is_made(
    source: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        backup_directory(source, **parameters)


def test_progress_names_the_files(source: Path, destination: Path) -> None:
    parameters = {"source": str(source), "destination": str(destination)}
    flow = backup_directory(source, destination)
    seen: dict[str, list[tuple[float, str]]] = {name: [] for name in ATOMS}
    for atom, _ in flow.iter_nodes():
        atom.notifier.register(
            task.EVENT_UPDATE_PROGRESS,
            lambda _, details, name=atom.name: seen[name].append(
                (details["progress"], details.get("message", ""))
            ),
        )
    engines.run(flow, store=parameters, engine="serial")
    archive = seen["archive"]
    assert any(message == "1/5 a.txt" for _, message in archive)
    for reports in seen.values():
        fractions = [fraction for fraction, _ in reports]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


# What is left out


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


# Never a partial or a wrong archive


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


def work_file(destination: Path, stem: str) -> Path:
    (file,) = destination.glob(f".partial-*/{stem}-*")
    return file


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


# Pruning


def test_the_newest_are_kept_and_nothing_else_is_touched(run: Run, destination: Path) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3, 4)]
    foreign = [make_old(destination, 1, "source-2"), make_old(destination, 1, "other")]
    (destination / "source-20200101T000000Z-0123abcd.tar.zst").write_text("not our form")
    (destination / "source-20190101T000000Z-0123abcd.tar.gz").write_text("no checksum beside it")
    (destination / "notes.txt").write_text("a person's")
    others = [name for name in names_in(destination) if name not in with_sidecars(*old)]
    result = run(keep=3)
    assert result["pruned"] == old[:2]
    new = Path(result["archive"]).name
    assert names_in(destination) == sorted([*others, *with_sidecars(*old[2:], new)])
    assert set(with_sidecars(*foreign)) < set(others)


def test_the_new_archive_stays_even_if_the_others_claim_to_be_newer(run: Run, destination: Path) -> None:
    future = "source-29990101T000000Z-0123abcd.tar.gz"
    (destination / future).write_bytes(b"x")
    (destination / (future + SIDECAR_SUFFIX)).write_text(sidecar_text("0" * 64, future))
    result = run(keep=1)
    assert result["pruned"] == [future]
    assert names_in(destination) == with_sidecars(Path(result["archive"]).name)


def test_an_old_archive_that_cannot_be_removed_is_told(
    run: Run, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = make_old(destination, 1), make_old(destination, 2)
    whole = os.rename

    def rename(old: Any, new: Any, **kwargs: Any) -> None:
        if os.fspath(old).endswith(stuck):
            raise PermissionError(1, "Operation not permitted")
        whole(old, new, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    result = run(keep=1)
    assert (result["pruned"], result["not_pruned"]) == ([other], [stuck])
    assert names_in(destination) == with_sidecars(stuck, Path(result["archive"]).name)


# Crashes


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


# Rates and stopping


@pytest.mark.parametrize("atom", ["archive", "checksum", "verify"])
def test_the_rate_holds_for_all_that_reads(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch, atom: str
) -> None:
    """Reading n bytes at n bytes a second is accounted for as one second, in small waits."""
    (source / "noise").write_bytes(os.urandom(1_000_000))  # which does not compress
    waited: dict[str, float] = dict.fromkeys(ATOMS, 0.0)
    current = ["scan"]

    def throttle(rate: int | None) -> Throttle:
        assert rate == 1_000_000
        return Throttle(rate, clock=lambda: sum(waited.values()), wait=wait)

    def wait(seconds: float) -> None:
        assert seconds <= 0.2
        waited[current[0]] += seconds

    monkeypatch.setattr(tasks, "Throttle", throttle)
    atoms: dict[str, Any] = {"archive": tasks.Archive, "checksum": tasks.Checksum, "verify": tasks.Verify}
    for name, cls in atoms.items():
        execute = cls.execute

        def named(self: Any, *args: Any, _name: str = name, _execute: Any = execute, **kwargs: Any) -> Any:
            current[0] = _name
            return _execute(self, *args, **kwargs)

        named.__wrapped__ = execute  # type: ignore[attr-defined]
        monkeypatch.setattr(cls, "execute", named)
    result = run(max_rate="1MB")
    size = result["bytes"] if atom == "archive" else result["size"]
    assert waited[atom] == pytest.approx(size / 1_000_000, rel=0.01)


def test_the_rate_takes_real_time(run: Run, source: Path) -> None:
    (source / "noise").write_bytes(os.urandom(200_000))
    started = time.monotonic()
    run(max_rate="1MB", compression="none")
    assert time.monotonic() - started >= 2.0  # 0.7 MB, three times


@pytest.mark.parametrize("point", [POINTS[0], POINTS[2], POINTS[5], POINTS[7]], ids=str)
def test_a_cancelled_job_stops_within_an_atom(run: Run, destination: Path, point: Point) -> None:
    old = make_old(destination, 1)
    signal_ = stopping.StopSignal()
    token = stopping.bind(signal_)
    try:
        with broken(point, lambda: signal_.set("cancel")), pytest.raises(stopping.Stopped):
            run()
    finally:
        stopping._current.reset(token)
    assert names_in(destination) == with_sidecars(old)


def test_a_conductor_that_shuts_down_lets_an_atom_finish(run: Run) -> None:
    signal_ = stopping.StopSignal()
    token = stopping.bind(signal_)
    try:
        with broken(POINTS[2], lambda: signal_.set("suspend")):
            assert run(max_rate="5MB")["files"] == 5
    finally:
        stopping._current.reset(token)
