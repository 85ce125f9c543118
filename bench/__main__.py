"""``python -m bench``: measure the table and print it.

A missed goal is said to be missed, and is no error; a figure that could not be measured is one.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from bench import machine, results, table
from bench.figures import Figure, Verdict
from bench.measures import ALL, FULL, Bench, Measure
from bench.rows import BY_KEY, ROWS
from bench.servers import NotOnDisk, running
from tests.support.servers import BinaryMissing, ServerNotReady

DISK = Path("/var/tmp")
BUDGET_S, FULL_BUDGET_S = 270.0, 1140.0
"""A measurement that would begin later than this is left out, and said to have failed: a run ends in bounded time."""


def main() -> int:
    args = _parser().parse_args()
    chosen = [measure for measure in (FULL if args.full else ALL) if _is_wanted(measure, args.only)]
    try:
        with running(args.directory) as servers:
            described = machine.describe(servers)
            print(*machine.as_lines(described), sep="\n")
            figures = measure_all(Bench(servers), chosen, FULL_BUDGET_S if args.full else BUDGET_S)
    except (NotOnDisk, BinaryMissing, ServerNotReady) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    told = [figure.to_json() for figure in in_order(figures, everything=not args.only)]
    print("", table.as_text(table.HEAD, [table.figure_cells(figure) for figure in told]), sep="\n")
    for what in table.errors(told):
        print("", what, sep="\n")
    if not args.no_results:
        print("", results.write_figures(told, described, kind="full" if args.full else "bench"), sep="\n")
    return int(any(figure["verdict"] == Verdict.FAILED.value for figure in told))


def measure_all(bench: Bench, chosen: list[Measure], budget: float) -> dict[str, Figure]:
    """Make the measurements one after the other; one that fails becomes failed figures."""
    figures: dict[str, Figure] = {}
    began = time.monotonic()
    for measure in chosen:
        start = time.monotonic()
        if start - began > budget:
            figures |= _failed(measure, f"not measured: the run had taken its {budget:g} s")
            continue
        print(f"measuring {', '.join(measure.rows)} ...", end=" ", file=sys.stderr, flush=True)
        figures |= _measured(bench, measure)
        print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    return figures


def _measured(bench: Bench, measure: Measure) -> dict[str, Figure]:
    try:
        found = measure.run(bench)
    except Exception as error:  # noqa: BLE001 - the other figures are wanted all the same
        traceback.print_exc()
        return _failed(measure, f"{type(error).__name__}: {error}")
    return {key: Figure(row=BY_KEY[key], measured=found[key]) for key in measure.rows}


def _failed(measure: Measure, why: str) -> dict[str, Figure]:
    return {key: Figure(row=BY_KEY[key], error=why) for key in measure.rows}


def in_order(figures: dict[str, Figure], *, everything: bool) -> list[Figure]:
    """The figures in the table's order; with ``everything`` also the rows that were left out."""
    return [figures.get(row.key, Figure(row=row)) for row in ROWS if everything or row.key in figures]


def _is_wanted(measure: Measure, only: list[str]) -> bool:
    return not only or any(key.startswith(tuple(only)) for key in measure.rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure jobrunner.")
    parser.add_argument("--full", action="store_true", help="with the rows that take long")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="only rows whose key starts so; can be repeated",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=DISK,
        help=f"where the servers' data are kept for the run, on a disk ({DISK})",
    )
    parser.add_argument("--no-results", action="store_true", help="print only; write no files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
