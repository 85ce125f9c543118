"""What a run says where a server is not installed: nothing is left out silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NOTHING_IS_INSTALLED = """
import tests.support.servers.mariadb as mariadb
import tests.support.servers.postgresql as postgresql
import tests.support.servers.redis_server as redis_server
from tests.support.servers import BinaryMissing

def find_nothing(name, *places):
    raise BinaryMissing(f"{name} is not installed")

for module in (mariadb, postgresql, redis_server):
    module.find_binary = find_nothing
"""


def run(kind: str, directory: Path) -> tuple[int, str]:
    """Run one test that uses the server of that kind, where none is installed."""
    (directory / "nothing_is_installed.py").write_text(NOTHING_IS_INSTALLED)
    test = f"tests/integration/test_servers.py::test_stopped_server_comes_back_with_its_data[{kind}]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "nothing_is_installed", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("kind", "program", "package"),
    [("redis", "redis-server", "redis-server"), ("mariadb", "mariadbd", "mariadb-server")],
)
def test_missing_server_fails_and_names_the_package(
    kind: str, program: str, package: str, tmp_path: Path
) -> None:
    code, output = run(kind, tmp_path)
    assert code == 1
    assert f"{program} is not installed: install Debian's package {package}" in output
    assert "1 error" in output


def test_missing_postgresql_is_told_in_the_summary(tmp_path: Path) -> None:
    code, output = run("postgres", tmp_path)
    assert code == 0
    assert (
        "PostgreSQL tests are left out: its programs (Debian's package postgresql) are not installed (1 of"
        in output
    )
    assert "1 skipped" in output
