"""What is seen while the demo runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from rich.console import Console

from jobrunner.cli.demo.processes import Conductor
from jobrunner.cli.demo.view import View, frame
from jobrunner.model import AtomRecord
from tests.support.made_up import made_up_job


@dataclass
class FakeConductor:
    name: str
    is_alive: bool


JOB = made_up_job(type="backup_directory", node="demo-a")
SCAN = AtomRecord(name="scan", kind="task", state="SUCCESS", intention="EXECUTE", node="demo-a", starts=1)
ARCHIVE = AtomRecord(
    name="archive", kind="task", state="RUNNING", intention="EXECUTE", node="demo-a", starts=1, progress=0.5
)


def drawn(*, owner_lives: bool, width: int = 100) -> list[str]:
    conductors = [FakeConductor("demo-a", owner_lives), FakeConductor("demo-b", True)]
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(frame(JOB, [SCAN, ARCHIVE], cast("list[Conductor]", conductors), width=width))
    return captured.get().splitlines()


def test_frame_shows_who_runs_the_job_and_how_far_it_is() -> None:
    text = "\n".join(drawn(owner_lives=True))
    assert "demo-a runs the job" in text
    assert "demo-b waits for work" in text
    assert "50%" in text


def test_atom_of_a_killed_conductor_is_not_shown_as_running() -> None:
    text = "\n".join(drawn(owner_lives=False))
    assert "demo-a killed" in text
    assert "its conductor was killed" in text


def test_frame_fits_a_narrow_terminal() -> None:
    assert max(map(len, drawn(owner_lives=False, width=40))) < 40


def test_each_change_is_told_once_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with View() as view:
        for _ in range(3):
            view.show(JOB, [SCAN, ARCHIVE], [])
        view.say("a\x1b[2Jb")
    told = [line.partition(" s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == ["  scan: SUCCESS on demo-a", "  archive: RUNNING on demo-a", "a\\x1b[2Jb"]
