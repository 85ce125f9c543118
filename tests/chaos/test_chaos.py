"""A minute of chaos, as ``make chaos`` makes more of it; each time with another seed, which the output tells."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import binaries_needed
from tests.support.servers.process import find_binary

ROOT = Path(__file__).parents[2]
SECONDS = 60
JOBS = 120
PATIENCE_S = 30
DEADLINE_S = 170


@pytest.mark.redis
@pytest.mark.mariadb
def test_a_minute_of_chaos() -> None:
    """In a process of its own: it holds proxies, servers and threads, and nothing of them may stay here."""
    for kind, program in (("redis", "redis-server"), ("mariadb", "mariadbd")):
        with binaries_needed(kind):
            find_binary(program)
    seed = secrets.randbelow(1_000_000)
    options = {
        "seconds": SECONDS,
        "jobs": JOBS,
        "machines": 2,
        "longest": 6,
        "patience": PATIENCE_S,
        "seed": seed,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, f"make chaos SEED={seed}\n{done.stdout}"
