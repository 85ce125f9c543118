"""`jobrunner new`: what it takes, and what it says to do next."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobrunner.cli.new import next_steps, split
from jobrunner.errors import UsageError


@pytest.mark.parametrize("given", ["reports/monthly", "reports/monthly/", "flows/reports/monthly"])
def test_group_and_job(given: str) -> None:
    assert split(given) == ("reports", "monthly")


@pytest.mark.parametrize("given", ["monthly", "", "/", "a/b/c", "reports/"])
def test_what_names_no_plugin_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(UsageError, match="a group and a job") as refused:
        split(given)
    assert refused.value.hint == "For example: jobrunner new reports/monthly_report"


def test_next_steps_begin_where_the_plugin_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(next_steps(Path(), "reports", "monthly")) == 2
    steps = next_steps(tmp_path / "my plugins", "reports", "monthly")
    assert steps[0] == f"cd '{tmp_path}/my plugins'"
    assert steps[-1].endswith("jobrunner post monthly --help")


def test_python_is_the_one_that_runs_jobrunner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next_steps(Path(), "a", "b")[0] == f"{sys.executable} -m pytest flows/a/b"
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert next_steps(Path(), "a", "b")[0] == "python -m pytest flows/a/b"


def test_jobrunner_is_the_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/jobrunner").touch()
    assert next_steps(Path(), "a", "b")[-1] == ".venv/bin/jobrunner post b --help"
    monkeypatch.setenv("PATH", str(tmp_path / ".venv/bin"))
    (tmp_path / ".venv/bin/jobrunner").chmod(0o755)
    assert next_steps(Path(), "a", "b")[-1] == "jobrunner post b --help"
