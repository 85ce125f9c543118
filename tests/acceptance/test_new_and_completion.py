"""`jobrunner new` makes something that works; `jobrunner completion` makes scripts that the shells take."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.command_line import CommandLine


def test_new_plugin_is_found_and_its_test_passes(jobrunner: CommandLine) -> None:
    made = jobrunner("new", "reports/monthly_report")
    assert made.code == 0, made.err
    files = made.out.split()
    assert "flows/reports/monthly_report/flow.py" in files
    assert all((jobrunner.home / file).is_file() for file in files)
    assert "jobrunner post monthly_report --help" in made.err

    assert "monthly_report" in jobrunner("types").out
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "flows/reports/monthly_report"],
        cwd=jobrunner.home,
        env=jobrunner.environment(),
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert " passed" in tests.stdout


def test_plugin_that_is_there_is_not_overwritten(jobrunner: CommandLine) -> None:
    jobrunner.write({"flows/reports/mine/flow.py": "# mine\n"})
    done = jobrunner("new", "reports/mine")
    assert done.code == 2
    assert "exists already" in done.err
    assert (jobrunner.home / "flows/reports/mine/flow.py").read_text() == "# mine\n"


def test_plugin_in_another_directory(jobrunner: CommandLine) -> None:
    done = jobrunner("new", "reports/mine", "--directory", "elsewhere", "--json")
    assert done.code == 0
    assert done.json["job_type"] == "mine"
    assert "elsewhere/flows/reports/mine/flow.py" in done.json["files"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_script_is_one_that_the_shell_takes(jobrunner: CommandLine, shell: str) -> None:
    done = jobrunner("completion", shell)
    assert done.code == 0
    assert "doctor" in done.out
    assert f"jobrunner completion {shell} >" in done.err
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.out, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_bash_completes_commands_and_options(jobrunner: CommandLine) -> None:
    script = jobrunner("completion", "bash").out
    asked = """
complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_jobrunner; echo "${COMPREPLY[*]}"; }
complete_it jobrunner doc
complete_it jobrunner db upg
complete_it jobrunner doctor --js
"""
    done = subprocess.run(["bash"], input=script + asked, capture_output=True, text=True)
    assert [line.strip() for line in done.stdout.splitlines()] == ["doctor", "upgrade", "--json"], done.stderr
