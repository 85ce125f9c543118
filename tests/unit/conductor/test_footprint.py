"""What the supervisor does not have in its memory."""

from __future__ import annotations

import subprocess
import sys

NEEDLESS = (
    "alembic",
    "ctypes",
    "difflib",
    "jobrunner.cli.post",
    "jobrunner.cli.post_options",
    "jobrunner.conductor.run",
    "jobrunner.conductor.worker.worker",
    "jobrunner.fork_server",
    "jobrunner.persistence.journal",
    "jobrunner.plugins",
    "networkx",
    "oslo_utils",
    "psycopg",
    "rich",
    "stevedore",
    "taskflow",
)

SUPERVISOR = """
import sys
from jobrunner.cli.main import build_parser, command_module
build_parser("run")
from jobrunner.assemble import make_database, run_conductor
from jobrunner.boards import open_board
from jobrunner.conductor.supervisor.supervisor import Supervisor
from jobrunner.config import load_config
load_config(None)
database = make_database(load_config(None, flags={"persistence.url": "mysql+pymysql://nobody@localhost/none"}).config)
open_board("redis://localhost", database=database)
print(*sys.modules, sep="\\n")
"""

GARBAGE = """
import gc
gc.set_threshold(50_000)
from jobrunner.conductor.supervisor.footprint import keep_small

class Round:
    alive = most = 0
    def __init__(self):
        self.itself = self
        Round.alive += 1
        Round.most = max(Round.most, Round.alive)
    def __del__(self):
        Round.alive -= 1

keep_small()
for _ in range(20_000):
    Round()
print(Round.most)
"""


def said_by(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_supervisor_imports_nothing_that_only_its_workers_or_other_commands_need() -> None:
    imported = said_by(SUPERVISOR)
    assert "jobrunner.conductor.supervisor.supervisor" in imported
    assert [name for name in NEEDLESS if name in imported] == []


def test_garbage_is_collected_while_there_is_little_of_it() -> None:
    [most] = map(int, said_by(GARBAGE))
    assert most < 1_000
