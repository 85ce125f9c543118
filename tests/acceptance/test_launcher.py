"""bin/jobrunner: makes the environment once, tells what is wrong, leaves nothing half made.

A stand-in for Python makes the environments here: what is tested is the launcher, not pip, and needs no network.
That the real installation works is proved by every run of these tests through bin/test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 20.0

PYTHON = """#!/bin/sh
case "$*" in
*"import ensurepip"*) exit ${WITHOUT_ENSUREPIP:-0} ;;
*print*) echo 3.11 ;;
"-m venv "*)
    mkdir -p "$3/bin"
    cp "$NOTES/environment_python" "$3/bin/python"
    echo "#!$3/bin/python" >"$3/bin/pip"
    ;;
esac
"""

ENVIRONMENT_PYTHON = """#!/bin/sh
[ "$3" = install ] || exit 0
mkdir "$NOTES/installing" || echo overlap >>"$NOTES/installed"
echo "$@" >>"$NOTES/installed"
[ ! -p "$NOTES/hold" ] || read -r _ <"$NOTES/hold"
rmdir "$NOTES/installing"
if [ -n "${PIP_SAYS:-}" ]; then echo "$PIP_SAYS" >&2; exit 1; fi
printf '#!/bin/sh\\necho "ran: $*"\\n' >"${0%/*}/jobrunner"
chmod +x "${0%/*}/jobrunner"
"""


class Tree:
    """A working tree with the launcher in it, and its stand-in for Python."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "a tree"
        self.notes = directory / "notes"
        self.notes.mkdir()
        shutil.copytree(ROOT / "bin", self.root / "bin")
        for name in ("setup.py", "pyproject.toml", "constraints.txt", "activate_venv"):
            shutil.copy(ROOT / name, self.root)
        for name, script in (("python", PYTHON), ("environment_python", ENVIRONMENT_PYTHON)):
            (self.notes / name).write_text(script)
            (self.notes / name).chmod(0o755)

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
        return subprocess.Popen(
            arguments,
            env={**inherited, "PYTHON": str(self.notes / "python"), "NOTES": str(self.notes), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run ``bin/jobrunner`` with the arguments; returns its exit code and what it printed, and to where."""
        with self.start(str(self.root / "bin/jobrunner"), *arguments, **environment) as process:
            out, err = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, out, err

    def installations(self) -> list[str]:
        installed = self.notes / "installed"
        return installed.read_text().splitlines() if installed.exists() else []


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        time.sleep(0.01)


def test_first_start_sets_up_then_runs(tree: Tree) -> None:
    code, out, err = tree.run("post", "an argument", "--with=another one")
    assert (code, out) == (0, "ran: post an argument --with=another one\n")
    assert err == f"jobrunner: setting up {tree.venv} with Python 3.11 (once; this takes a minute) ...\n"
    [installation] = tree.installations()
    assert f"--constraint {tree.root}/constraints.txt --editable {tree.root}" in installation


def test_second_start_only_runs(tree: Tree) -> None:
    tree.run()
    assert tree.run("list") == (0, "ran: list\n", "")
    assert len(tree.installations()) == 1


@pytest.mark.parametrize("name", ["setup.py", "pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_installed_installs_again(tree: Tree, name: str) -> None:
    tree.run()
    with (tree.root / name).open("a") as file:
        file.write("# changed\n")
    code, out, err = tree.run()
    assert (code, out) == (0, "ran: \n")
    assert err == f"jobrunner: refreshing {tree.venv} ...\n"
    assert len(tree.installations()) == 2
    assert tree.run()[2] == ""


def test_a_tree_that_was_moved_gets_another_environment(tree: Tree) -> None:
    tree.run()
    tree.root = tree.root.rename(tree.root.with_name("elsewhere"))
    code, _, err = tree.run()
    assert code == 0
    assert "setting up" in err
    assert f"--editable {tree.root}" in tree.installations()[-1]


def test_several_started_at_once_set_up_once(tree: Tree) -> None:
    os.mkfifo(tree.notes / "hold")
    processes = [tree.start(str(tree.root / "bin/jobrunner"), str(number)) for number in range(5)]
    with (tree.notes / "hold").open("w"):  # opens when one of them installs; closing it lets that one go on
        pass
    (tree.notes / "hold").unlink()
    for number, process in enumerate(processes):
        out, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert (process.returncode, out) == (0, f"ran: {number}\n")
    assert len(tree.installations()) == 1


def test_interrupted_installation_leaves_no_environment(tree: Tree) -> None:
    os.mkfifo(tree.notes / "hold")
    with tree.start(str(tree.root / "bin/jobrunner")) as process:
        wait_until(lambda: bool(tree.installations()), "it installs")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (-signal.SIGINT, 130)  # a shell reports both as 130
    assert not tree.venv.exists()


def test_killed_installation_is_done_again(tree: Tree) -> None:
    os.mkfifo(tree.notes / "hold")
    with tree.start(str(tree.root / "bin/jobrunner")) as process:
        wait_until(lambda: bool(tree.installations()), "it installs")
        os.killpg(process.pid, signal.SIGKILL)
    (tree.notes / "hold").unlink()
    (tree.notes / "installing").rmdir()
    assert tree.run("again")[:2] == (0, "ran: again\n")
    assert len(tree.installations()) == 2


def test_missing_ensurepip_names_the_package(tree: Tree) -> None:
    code, out, err = tree.run(WITHOUT_ENSUREPIP="1")
    assert (code, out) == (1, "")
    assert "apt-get install python3.11-venv" in err
    assert not tree.venv.exists()


def test_old_python_is_refused(tree: Tree) -> None:
    code, _, err = tree.run(PYTHON="/bin/false")
    assert code == 1
    assert "/bin/false is not a Python 3.10 or newer" in err
    assert not tree.venv.exists()


def test_missing_network_is_said_plainly(tree: Tree) -> None:
    code, _, err = tree.run(PIP_SAYS="WARNING: Retrying after NewConnectionError: [Errno 101]")
    assert code == 1
    assert "there seems to be no network" in err
    assert not tree.venv.exists()


def test_failed_installation_shows_why(tree: Tree) -> None:
    code, _, err = tree.run(PIP_SAYS="ERROR: No matching distribution found for taskflow>=6.0")
    assert code == 1
    assert "No matching distribution found for taskflow>=6.0" in err
    assert "network" not in err
    assert not tree.venv.exists()


def test_failed_refresh_keeps_the_environment(tree: Tree) -> None:
    tree.run()
    (tree.root / "constraints.txt").write_text("")
    assert tree.run(PIP_SAYS="ERROR: broken")[0] == 1
    assert tree.venv.exists()
    assert tree.run()[:2] == (0, "ran: \n")


def test_launcher_is_quick(tree: Tree) -> None:
    """What it adds to each command; 10 ms are usual, and a busy machine gets five times the promise."""
    tree.run()
    started = time.perf_counter()
    for _ in range(10):
        tree.run()
    assert (time.perf_counter() - started) / 10 < 0.15


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_activate_venv_activates(tree: Tree, shell: str) -> None:
    (tree.notes / "python").write_text(
        PYTHON.replace('echo "#!$3', 'echo "ACTIVATED=yes" >"$3/bin/activate"\n    echo "#!$3')
    )
    # A plain sh cannot know where a sourced file is, so there it has to be sourced in its own directory.
    where, file = ("/", tree.root / "activate_venv") if shell == "bash" else (tree.root, "./activate_venv")
    with tree.start(shell, "-c", f"cd '{where}' && . '{file}' && echo $ACTIVATED") as process:
        out, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out) == (0, "yes\n")
