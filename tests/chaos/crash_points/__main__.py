"""``python -m tests.chaos.crash_points``: the crash points of all shapes, as a table.

Exits with 1 if anything differs, with 2 if a server cannot be started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.crash_points.broken import BROKEN
from tests.chaos.crash_points.one import report_of
from tests.chaos.crash_points.points import Report
from tests.chaos.crash_points.shapes import SHAPES
from tests.support.servers import (
    BinaryMissing,
    MariaDbServer,
    PostgresServer,
    Server,
    ServerNotReady,
    ServerRun,
)

SERVERS: dict[str, type[Server]] = {"mariadb": MariaDbServer, "postgresql": PostgresServer}
DATABASES = ("sqlite", *SERVERS)
GRAINS = ("group", "change")
"""What a write is: a group of changes, as the journal makes it; or each change by itself."""
HEAD = (
    "database",
    "a write is a",
    "shape",
    "writes",
    "runs",
    "kills",
    "lost answers",
    "differences",
    "repeated atoms",
)
SHOWN = 10
"""Differences of a shape that are printed."""


def main() -> int:
    args = _parser().parse_args()
    run = ServerRun.open()
    try:
        with _urls(run, args.database or DATABASES) as urls:
            return _tell(args, Path(run.directory), urls)
    except (BinaryMissing, ServerNotReady) as error:
        print(f"crash points: {error}", file=sys.stderr)
        return 2
    finally:
        run.close(tuple(SERVERS.values()))


def _tell(args: argparse.Namespace, directory: Path, urls: dict[str, str]) -> int:
    """Print a line for each shape on each database, and what differs."""
    shapes = args.shape or list(SHAPES)
    grains = GRAINS[:1] if args.broken else GRAINS
    tasks = [(database, grain, shape) for database in urls for grain in grains for shape in shapes]

    def report(task: tuple[str, str, str]) -> Report:
        database, grain, shape = task
        place = directory / "-".join(task)
        place.mkdir()
        url = urls[database] or f"sqlite:///{place}/jobrunner.sqlite"
        return report_of(url, shape, place, changes=grain == "change", broken=args.broken)

    print(_line(HEAD), flush=True)
    reports = []
    with ThreadPoolExecutor(args.processes) as pool:
        for task, found in zip(tasks, pool.map(report, tasks), strict=True):
            reports.append(found)
            print(_line((*task, *_figures(found))), flush=True)
            for what in found.differences[:SHOWN]:
                print(f"    {what}", flush=True)
    print(_line(("all", "", "", *_sums(reports))))
    return int(any(found.differences for found in reports))


def _figures(report: Report) -> tuple[int, ...]:
    return (
        report.writes,
        report.runs,
        report.kills,
        report.lost_answers,
        len(report.differences),
        report.repeated,
    )


def _sums(reports: list[Report]) -> tuple[int, ...]:
    return tuple(sum(figures) for figures in zip(*map(_figures, reports), strict=True))


def _line(cells: tuple[object, ...]) -> str:
    texts = [str(cell) for cell in cells]
    left = [text.ljust(width) for text, width in zip(texts[:3], (10, 12, 15), strict=True)]
    right = [text.rjust(len(head)) for text, head in zip(texts[3:], HEAD[3:], strict=True)]
    return "  ".join([*left, *right])


@contextlib.contextmanager
def _urls(run: ServerRun, databases: list[str]) -> Iterator[dict[str, str]]:
    """A new database on each server; SQLite has a file for each shape, and so none here."""
    urls = {}
    for name in dict.fromkeys(databases):
        urls[name] = run.get(SERVERS[name]).create_database() if name in SERVERS else ""
    yield urls


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.crash_points",
        description="Kill a job's owner at every write of the journal, let another go on, and compare the end.",
    )
    parser.add_argument(
        "--database", action="append", choices=DATABASES, help="only on this one; may be repeated"
    )
    parser.add_argument("--shape", action="append", choices=SHAPES, help="only this one; may be repeated")
    parser.add_argument(
        "--broken", choices=BROKEN, help="break the journal on purpose: this must find differences"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="shapes at a time (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
