from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobrunner.errors import UsageError
from jobrunner.plugins import create_plugin, load_plugins

WritePlugin = Callable[..., Path]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def pytest_script() -> str:
    """The ``pytest`` program, which unlike ``python -m pytest`` does not put the directory on ``sys.path``."""
    return str(Path(sys.executable).parent / "pytest")


def test_the_made_plugins_pass_their_tests(tmp_path: Path) -> None:
    made = create_plugin(tmp_path, "acme", "word_report")
    create_plugin(tmp_path, "acme", "other_report")

    assert [str(path.relative_to(tmp_path)) for path in made] == [
        "flows/acme/word_report/flow.py",
        "flows/acme/word_report/tasks.py",
        "flows/acme/word_report/test_flow.py",
        "flows/acme/word_report/__init__.py",
        "flows/acme/__init__.py",
        "flows/__init__.py",
    ]
    done = run(pytest_script(), "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_the_made_plugin_registers_and_runs(place: Path) -> None:
    create_plugin(place, "acme", "word_report")
    (place / "texts").mkdir()
    (place / "texts" / "a.txt").write_text("one two two")

    registry = load_plugins()
    job_type = registry.get_type("word_report")
    stored = job_type.accept(_posting(place)).parameters
    flow = job_type.build(stored)

    assert registry.problems == ()
    assert [task.name for task in flow] == ["count_words", "write_report"]
    assert json.loads(json.dumps(stored)) == {
        "source": str(place / "texts"),
        "report": str(place / "report.tsv"),
        "top": 10,
    }
    assert {parameter.name: bool(parameter.help) for parameter in job_type.parameters} == {
        "source": True,
        "report": True,
        "top": True,
    }


def _posting(place: Path) -> object:
    from jobrunner.model import Posting

    parameters = {"source": place / "texts", "report": place / "report.tsv"}
    return Posting(type="word_report", parameters=parameters)


def test_the_made_plugin_is_clean(tmp_path: Path) -> None:
    create_plugin(tmp_path, "acme", "word_report")
    ruff = run(
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,W,I,B,UP",
        "--line-length",
        "120",
        ".",
        cwd=tmp_path,
    )
    assert ruff.returncode == 0, ruff.stdout
    form = run("-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", ".", cwd=tmp_path)
    assert form.returncode == 0, form.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    create_plugin(tmp_path, "acme", "word_report")
    flow = tmp_path / "flows" / "acme" / "word_report" / "flow.py"
    flow.write_text("mine")
    (tmp_path / "flows" / "acme" / "single.py").write_text("mine")

    with pytest.raises(UsageError, match=r"flows/acme/word_report exists already: choose another name"):
        create_plugin(tmp_path, "acme", "word_report")
    with pytest.raises(UsageError, match=r"flows/acme/single\.py exists already"):
        create_plugin(tmp_path, "acme", "single")
    assert flow.read_text() == "mine"


@pytest.mark.parametrize(
    ("group", "job", "message", "hint"),
    [
        (
            "acme",
            "Word-Report",
            "'Word-Report' cannot be the name of a job: it names a Python module",
            "'word_report'",
        ),
        ("acme", "../../etc", "'../../etc' cannot be the name of a job", "'etc'"),
        ("acme", "class", "'class' cannot be the name of a job", None),
        ("", "job", "'' cannot be the name of a group", None),
        ("builtin", "job", "the group 'builtin' is jobrunner's own", None),
    ],
)
def test_names_have_to_be_names(tmp_path: Path, group: str, job: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match=message) as error:
        create_plugin(tmp_path, group, job)

    assert not list(tmp_path.iterdir())
    assert (hint or "") in (error.value.hint or "")


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "flows").write_text("a file")
    with pytest.raises(UsageError, match=r"flows.* cannot be written: "):
        create_plugin(tmp_path, "acme", "word_report")


TEST = """
from flows.acme.tidy.flow import tidy
from flows.acme.tidy.helper import HELP
from flows.builtin.run_command.flow import run_command

def test_tidy():
    assert tidy().name == "tidy" and HELP
"""
FLOW = """
from jobrunner import job
from taskflow.patterns import linear_flow

@job
def tidy():
    return linear_flow.Flow("tidy")
"""


@pytest.mark.parametrize("arguments", [[], ["flows/acme"], ["{}/flows/acme/tidy/test_flow.py::test_tidy"]])
def test_tests_without_init_files_find_their_plugin(
    tmp_path: Path, write: WritePlugin, arguments: list[str]
) -> None:
    write(tmp_path / "flows", "acme/tidy", FLOW)
    write(tmp_path / "flows", "acme/tidy/helper.py", "HELP = True")
    write(tmp_path / "flows", "acme/tidy/test_flow.py", TEST)
    named = [argument.format(tmp_path) for argument in arguments]
    done = run(pytest_script(), "-q", "-p", "no:cacheprovider", *named, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_pytest_plugin_leaves_other_projects_alone(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("MINE = True")
    (tmp_path / "test_it.py").write_text("def test_it():\n    from flows import MINE\n    assert MINE\n")

    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
