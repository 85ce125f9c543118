from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobrunner.cli.frame import Size, frame
from jobrunner.cli.snapshot import Snapshot
from jobrunner.model import JobError, JobState
from tests.support.made_up import NOW_MS, made_up_atom, made_up_job

FEW = st.integers(0, 12)


def lines(snapshot: Snapshot, width: int = 100, height: int | None = None) -> list[str]:
    return frame(snapshot, now_ms=NOW_MS, size=Size(width=width, height=height)).plain.split("\n")


def busy(running: int, waiting: int, ended: int, atoms: int) -> Snapshot:
    jobs = [made_up_job() for _ in range(running)]
    states = ["SUCCESS", "RUNNING", *["PENDING"] * 50]
    names = [f"atom-{number}" for number in range(atoms)]
    return Snapshot(
        at_ms=NOW_MS,
        counts={JobState.RUNNING: running, JobState.WAITING: waiting + 7},
        under_way=jobs,
        in_line=[made_up_job(JobState.WAITING) for _ in range(waiting)],
        ended=[made_up_job(JobState.SUCCEEDED) for _ in range(ended)],
        atoms={
            job.id: [made_up_atom(name, state) for name, state in zip(names, states, strict=False)]
            for job in jobs
        },
        nodes=1,
    )


@given(FEW, FEW, FEW, FEW, st.integers(10, 150), st.integers(3, 60))
def test_a_frame_fits_its_terminal(
    running: int, waiting: int, ended: int, atoms: int, width: int, height: int
) -> None:
    shown = frame(busy(running, waiting, ended, atoms), now_ms=NOW_MS, size=Size(width=width, height=height))
    assert len(shown.plain.split("\n")) <= height
    assert all(line.cell_len <= width for line in shown.split("\n"))


def test_a_running_job_is_shown_with_its_atoms() -> None:
    job = made_up_job(node="alpha")
    atoms = [
        made_up_atom("scan", "SUCCESS", detail="12 files", node="beta"),
        made_up_atom("copy", "RUNNING", progress=0.47, detail="a\x1b[2Jb", starts=2),
        made_up_atom("check", "PENDING"),
    ]
    shown = lines(
        Snapshot(at_ms=NOW_MS, counts={JobState.RUNNING: 1}, under_way=[job], atoms={job.id: atoms}, nodes=2)
    )
    assert "1 running" in shown[0]
    assert "2 nodes" in shown[0]
    assert all(
        word in shown[2] for word in ("RUNNING", job.short_id, "copy_files", "alpha", "30s", "1 of 3 atoms")
    )
    assert all(word in shown[3] for word in ("scan", "2.0s", "on beta", "12 files"))
    assert all(word in shown[4] for word in ("copy", "47%", "5.0s", "start 2", "a\\x1b[2Jb"))
    assert shown[5].split()[-1] == "check"


def test_where_room_is_short_the_atoms_under_way_are_shown_and_the_others_counted() -> None:
    shown = "\n".join(lines(busy(1, 0, 0, 30), height=5))
    assert "atom-1 " in shown
    assert "1 done, 28 to come" in shown


def test_what_is_not_shown_is_counted() -> None:
    shown = "\n".join(lines(busy(8, 9, 3, 0), height=10))
    assert "more under way" in shown
    assert "more in line" in shown
    assert "SUCCEEDED" in shown


def test_a_failed_job_says_why() -> None:
    job = made_up_job(JobState.FAILED, error=JobError(kind="OSError", message="no space left"))
    assert "no space left" in "\n".join(lines(Snapshot(at_ms=NOW_MS, ended=[job])))


def test_ended_jobs_show_their_atoms_when_they_are_asked_for() -> None:
    job = made_up_job(JobState.SUCCEEDED)
    snapshot = Snapshot(at_ms=NOW_MS, ended=[job], atoms={job.id: [made_up_atom("scan", "SUCCESS")]})
    shown = lines(snapshot)
    assert len([line for line in shown if job.short_id in line]) == 1
    assert any("scan" in line for line in shown)


def test_an_outage_is_told_and_how_old_the_picture_is() -> None:
    snapshot = Snapshot(
        at_ms=NOW_MS,
        away="The database is away.",
        away_since_ms=NOW_MS - 12_000,
        in_line=[made_up_job(JobState.WAITING)],
    )
    shown = "\n".join(lines(snapshot, height=20))
    assert "The database is away." in shown
    assert "Away for 12s" in shown
    assert "WAITING" in shown


def test_waiting_without_a_node_says_what_to_do() -> None:
    snapshot = Snapshot(
        at_ms=NOW_MS, counts={JobState.WAITING: 1}, in_line=[made_up_job(JobState.WAITING)], nodes=0
    )
    assert "`jobrunner run` starts one" in "\n".join(lines(snapshot))


def test_nothing_at_all_says_what_to_do() -> None:
    assert "jobrunner post --help" in "\n".join(lines(Snapshot(at_ms=NOW_MS)))


def test_ascii_terminals_get_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobrunner.cli.states.has_unicode", lambda: False)
    monkeypatch.setattr("jobrunner.cli.frame.has_unicode", lambda: False)
    monkeypatch.setattr("jobrunner.cli.atom_lines.has_unicode", lambda: False)
    shown = "\n".join(lines(busy(3, 5, 5, 30), width=100, height=20))
    assert shown.replace("·", "").replace("…", "").isascii()
