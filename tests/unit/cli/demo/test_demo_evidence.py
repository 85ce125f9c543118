"""The demo's claims: all true of a takeover as it should be, and each false as soon as its part of it is not."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import psutil
import pytest

from jobrunner.cli.demo.evidence import Evidence, examine
from jobrunner.cli.demo.processes import Conductor
from jobrunner.cli.demo.report import runs_of
from jobrunner.cli.demo.story import Story
from jobrunner.model import AtomRecord, JobState
from tests.support.made_up import made_up_job

KILLED_MS = 10_000
OWNER_A = "demo-a:11:aaaa/0.1"
OWNER_B = "demo-b:22:bbbb/0.1"
Change = Callable[[Story], Story]


def atom(
    name: str, on: str, *, state: str = "SUCCESS", starts: int = 1, started_ms: int, epoch: int
) -> AtomRecord:
    return AtomRecord(
        name=name,
        kind="task",
        state=state,
        intention="EXECUTE",
        owner=OWNER_A if on == "demo-a" else OWNER_B,
        node=on,
        epoch=epoch,
        starts=starts,
        started_ms=started_ms,
        finished_ms=started_ms + 100 if state == "SUCCESS" else None,
    )


def conductor(name: str, pid: int) -> Conductor:
    process = cast("subprocess.Popen[bytes]", None)
    workers = cast("list[psutil.Process]", ["a worker"])
    return Conductor(
        name=name,
        process=process,
        log=Path("log"),
        identity=f"{name}:{pid}:xx"[:-2] + name[-1] * 4,
        workers=workers,
    )


def archive_in(directory: Path) -> dict[str, object]:
    path = directory / "backup.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("one"), io.BytesIO())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    Path(f"{path}.sha256").write_text(f"{sha256}  backup.tar\n")
    return {"archive": str(path), "size": path.stat().st_size, "sha256": sha256, "files": 1}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    job = made_up_job(type="backup_directory", created_ms=9_000, owner=OWNER_A, node="demo-a")
    scan = atom("scan", "demo-a", started_ms=9_100, epoch=1)
    archive = atom("archive", "demo-a", started_ms=9_200, epoch=1)
    return Story(
        killed=conductor("demo-a", 11),
        survivor=conductor("demo-b", 22),
        exit_code=-9,
        workers_left=0,
        killed_ms=KILLED_MS,
        lease=2.0,
        job_before=job,
        atoms_before=[
            scan,
            archive,
            atom("checksum", "demo-a", state="RUNNING", started_ms=9_300, epoch=1),
        ],
        job=replace(
            job,
            state=JobState.SUCCEEDED,
            epoch=2,
            owner=None,
            result={"scanned": {"files": 1}, "backup": archive_in(tmp_path)},
        ),
        atoms=[
            scan,
            archive,
            atom("checksum", "demo-b", starts=2, started_ms=12_100, epoch=2),
            atom("verify", "demo-b", started_ms=12_300, epoch=2),
        ],
    )


def untrue(evidence: Evidence) -> list[str]:
    return [claim.text for claim in evidence.claims if not claim.true]


def with_atom(story: Story, name: str, **changes: object) -> Story:
    atoms = [replace(one, **changes) if one.name == name else one for one in story.atoms]  # type: ignore[arg-type]
    return replace(story, atoms=atoms)


def test_takeover_as_it_should_be(story: Story) -> None:
    evidence = examine(story)
    assert untrue(evidence) == []
    assert evidence.holds
    assert evidence.takeover_s == 2.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, exit_code=0), "died of SIGKILL"),
        (lambda s: replace(s, workers_left=1), "worker processes ended"),
        (lambda s: replace(s, job_before=replace(s.job_before, owner=OWNER_B)), "owned the job"),
        (lambda s: with_atom(s, "scan", starts=2), "not run again"),
        (lambda s: with_atom(s, "archive", finished_ms=11_000), "not run again"),
        (lambda s: with_atom(s, "archive", owner=OWNER_B), "not run again"),
        (lambda s: replace(s, atoms=s.atoms[1:]), "not run again"),
        (lambda s: with_atom(s, "checksum", starts=1), "started again on demo-b"),
        (lambda s: with_atom(s, "checksum", node="demo-a"), "started again on demo-b"),
        (lambda s: replace(s, atoms_before=s.atoms_before[:2]), "started again on demo-b"),
        (lambda s: with_atom(s, "verify", starts=2), "run once, on demo-b"),
        (lambda s: with_atom(s, "verify", state="FAILURE"), "run once, on demo-b"),
        (lambda s: replace(s, job=replace(s.job, epoch=3)), "epoch rose by one"),
        (lambda s: replace(s, job=replace(s.job, state=JobState.FAILED)), "succeeded"),
        (lambda s: with_atom(s, "checksum", started_ms=KILLED_MS + 4_001), "taken over 4.0 s after the kill"),
        (lambda s: with_atom(s, "checksum", started_ms=9_300), "taken over -0.7 s after the kill"),
    ],
)
def test_each_claim_can_be_false(story: Story, change: Change, words: str) -> None:
    evidence = examine(change(story))
    assert not evidence.holds
    assert any(words in text for text in untrue(evidence)), untrue(evidence)


def test_archive_that_was_changed_afterwards_is_noticed(story: Story, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        for name in ("one", "two"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    wrong = untrue(examine(story))
    assert len(wrong) == 2
    assert "checksum is right" in wrong[0]
    assert "holds all 1 files" in wrong[1]


def test_checksum_beside_the_archive_counts(story: Story, tmp_path: Path) -> None:
    (tmp_path / "backup.tar.sha256").write_text(f"{'0' * 64}  backup.tar\n")
    (wrong,) = untrue(examine(story))
    assert "checksum is right" in wrong


@pytest.mark.parametrize(("skipped", "holds"), [(0, False), (1, True)])
def test_file_that_is_missing_has_to_be_accounted_for(story: Story, skipped: int, holds: bool) -> None:
    assert story.job.result is not None
    result = {
        "scanned": {"files": 2},
        "backup": {**story.job.result["backup"], "skipped_count": skipped},
    }
    assert examine(replace(story, job=replace(story.job, result=result))).holds is holds


def test_missing_archive_is_noticed(story: Story, tmp_path: Path) -> None:
    (tmp_path / "backup.tar").unlink()
    evidence = examine(story)
    assert evidence.archive is None
    assert untrue(evidence) == ["there is an archive"]


def test_table_has_both_starts_of_the_interrupted_atom(story: Story) -> None:
    runs = [(run.atom, run.conductor, run.start, run.end_ms) for run in runs_of(story)]
    assert runs == [
        ("scan", "demo-a", 1, 9_200),
        ("archive", "demo-a", 1, 9_300),
        ("checksum", "demo-a", 1, KILLED_MS),
        ("checksum", "demo-b", 2, 12_200),
        ("verify", "demo-b", 1, 12_400),
    ]
