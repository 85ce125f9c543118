"""Ctrl-C before the command line has been imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

STARTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.{handler})
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from jobrunner.__main__ import entry
sys.argv[1:] = ["--version"]
sys.exit(entry())
"""


@pytest.mark.parametrize("module", ["jobrunner.cli.main", "argparse"])
def test_interrupting_the_imports_shows_no_traceback(module: str) -> None:
    done = _started("default_int_handler", module)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_who_ignores_interrupts_goes_on_doing_so() -> None:
    done = _started("SIG_IGN", "jobrunner.cli.main")
    assert (done.returncode, done.stderr) == (0, "")


def _started(handler: str, module: str) -> subprocess.CompletedProcess[str]:
    program = STARTED.format(handler=handler, module=module)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
