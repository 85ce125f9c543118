"""``python -m tests.chaos.crash_points.one``: the crash points of one shape on one database, told as JSON.

A program of its own, since it forks: it has one thread, and no database is open in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.chaos.crash_points import owner
from tests.chaos.crash_points.broken import BROKEN
from tests.chaos.crash_points.points import CrashPoints, Report
from tests.chaos.crash_points.shapes import SHAPES

ROOT = Path(__file__).parents[3]
LIMIT_S = 600.0


def report_of(
    url: str, shape: str, directory: Path, *, changes: bool = False, broken: str | None = None
) -> Report:
    """Run this program; raises CalledProcessError if it fails, TimeoutExpired if it takes longer than LIMIT_S."""
    command = [sys.executable, "-m", __name__, url, shape, str(directory)]
    command += ["--changes"] if changes else []
    command += ["--broken", broken] if broken else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    return Report(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description="The crash points of one shape on one database, as JSON.")
    parser.add_argument("url", help="the database")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("directory", type=Path, help="for what the owners leave")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--changes", action="store_true", help="write each change by itself, and kill after it")
    way.add_argument("--broken", choices=BROKEN, help="what to break on purpose")
    args = parser.parse_args()
    workings = BROKEN[args.broken] if args.broken else owner.Workings()
    owner.prepare(args.url, args.directory / "prepare.log")
    owner.warm_up(args.url, args.directory)
    points = CrashPoints(args.url, SHAPES[args.shape], args.directory, workings)
    print(json.dumps(asdict(points.report_changes() if args.changes else points.report())))


if __name__ == "__main__":
    main()
