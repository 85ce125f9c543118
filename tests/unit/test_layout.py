"""What is installed: the modules, their data, the man pages, and versions that fit together."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import jobrunner
from jobrunner.cli.main import build_parser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What building the package makes of a tree: ``lib`` goes to site-packages, ``share`` beside it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("jobrunner", "flows"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    target = tmp_path_factory.mktemp("installed")
    command = ["build", f"--build-lib={target}/lib", "install_data", f"--install-dir={target}"]
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", *command], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


def data_files(root: Path) -> set[str]:
    """The files under ``root`` that are no modules, and no traces of running it."""
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)) for path in found if path.suffix not in (".py", ".pyc")}


def test_every_data_file_of_the_package_is_installed(installed: Path) -> None:
    expected = data_files(ROOT / "jobrunner")
    assert "py.typed" in expected
    assert data_files(installed / "lib" / "jobrunner") == expected


def test_every_module_is_installed(installed: Path) -> None:
    for top in ("jobrunner", "flows/builtin"):
        modules = {path.relative_to(ROOT) for path in (ROOT / top).rglob("*.py")}
        assert modules
        assert modules == {
            path.relative_to(installed / "lib") for path in (installed / "lib" / top).rglob("*.py")
        }


def test_every_command_has_a_man_page(installed: Path) -> None:
    (commands,) = (
        set(action.choices)
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert {"run", "post", "show", "status"} <= commands
    pages = {path.name for path in (installed / "share" / "man" / "man1").iterdir()}
    assert pages == {f"jobrunner-{command}.1" for command in commands} | {"jobrunner.1"}


def test_man_page_tells_what_help_tells(installed: Path) -> None:
    page = (installed / "share" / "man" / "man1" / "jobrunner-post.1").read_text().replace("\\", "")
    assert page.startswith('.TH JOBRUNNER-POST "1"')
    assert "jobrunner-post - " in page
    assert "--wait" in page
    assert f"jobrunner {jobrunner.__version__}" in page


def test_parser_needs_the_standard_library_only() -> None:
    """Man pages are built where nothing else is installed yet; ``-S`` leaves out site-packages."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import jobrunner.cli.main as m; m.build_parser()"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_constraints_name_an_exact_version_of_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = [line for line in lines if line and not line.startswith("#")]
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*(; python_version (<|>=) '3\.\d+')?")
    assert [line for line in constraints if not exact.fullmatch(line)] == []

    fixed = {normalised(entry.name): entry for entry in map(Requirement, constraints) if applies(entry)}
    for requirement in map(Requirement, metadata.requires("jobrunner") or []):
        if applies(requirement):
            version = next(iter(fixed[normalised(requirement.name)].specifier)).version
            assert requirement.specifier.contains(version), requirement


def applies(requirement: Requirement) -> bool:
    extras = ("", "dev", "postgresql")
    return requirement.marker is None or any(
        requirement.marker.evaluate({"extra": extra}) for extra in extras
    )


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
