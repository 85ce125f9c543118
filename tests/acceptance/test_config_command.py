"""`jobrunner config`: values, where they came from, and no secrets."""

from __future__ import annotations

import pytest

from tests.support.command_line import CommandLine


def test_each_value_comes_with_its_origin(jobrunner: CommandLine) -> None:
    jobrunner.write({"jobrunner.toml": "[conductor]\nlease = 3.0\njobs = 2\n"})
    done = jobrunner("config", "show", "--board-url", "redis://:secret@host/0", JOBRUNNER_CONDUCTOR__JOBS="4")
    assert done.code == 0
    lines = done.out.splitlines()
    assert "lease = 3.0  # jobrunner.toml" in lines
    assert "jobs = 4  # JOBRUNNER_CONDUCTOR__JOBS" in lines
    assert 'url = "redis://:***@host/0"  # --board-url' in lines
    assert "grace = 30.0  # default" in lines
    assert "secret" not in done.out


def test_secret_from_a_file_is_hidden_and_its_origin_told(jobrunner: CommandLine) -> None:
    jobrunner.write({"password": "s3cr3t\n"})
    file = str(jobrunner.home / "password")
    done = jobrunner(
        "config", "show", "--json", JOBRUNNER_BOARD__URL="redis://host/0", JOBRUNNER_BOARD__PASSWORD_FILE=file
    )
    (entry,) = (entry for entry in done.json if entry["key"] == "board.password")
    assert entry["value"] == "***"
    assert entry["origin"].startswith(file)
    assert "s3cr3t" not in done.out


def test_path_is_that_of_the_file_that_is_read(jobrunner: CommandLine) -> None:
    nothing = jobrunner("config", "path")
    assert (nothing.code, nothing.out) == (3, "")
    assert str(jobrunner.home / ".config/jobrunner/jobrunner.toml") in nothing.err
    jobrunner.write({".config/jobrunner/jobrunner.toml": ""})
    found = jobrunner("config", "path")
    assert (found.code, found.out) == (0, f"{jobrunner.home}/.config/jobrunner/jobrunner.toml\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[bord]\nurl = 'x'", "did you mean board?"),
        ("[conductor]\nlease = 'soon'", "conductor.lease"),
        ("[board\n", "cannot be read"),
    ],
)
def test_file_with_a_fault_is_refused_with_the_fault(
    jobrunner: CommandLine, content: str, words: str
) -> None:
    jobrunner.write({"jobrunner.toml": content})
    done = jobrunner("config", "show")
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_what_is_no_url_is_refused_without_telling_it(jobrunner: CommandLine) -> None:
    done = jobrunner("list", "--board-url", "redis//:secret@host")
    assert (done.code, done.out) == (2, "")
    assert "board.url is not a URL" in done.err
    assert "secret" not in done.err


def test_a_misspelt_key_is_answered_with_the_right_one(jobrunner: CommandLine) -> None:
    jobrunner.write({"jobrunner.toml": "[bord]\nprefix = 'x'\n"})
    assert "bord: there is no such key; did you mean board" in (told := jobrunner("list").err)
    assert "?." not in told
