"""``python -m tests.chaos.mutants``: every mutant is to be caught, and the same faults find nothing wrong without it.

Prints a line for each run; exits with 1 if a mutant was not caught, or a control was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.mutants.broken import MUTANTS, Mutant

ROOT = Path(__file__).parents[3]
INTERLEAVING = "interleaving"
BESIDES_S = 240.0
"""A run may take so long beside its faults."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run: of a plan with a mutant, or of its control."""

    plan: str
    mutant: Mutant | None
    seconds: float
    seed: int
    database: str

    @property
    def name(self) -> str:
        return "(nothing broken)" if self.mutant is None else self.mutant.name

    def command(self, file: Path) -> list[str]:
        """The program that does it, and writes what it found to a file."""
        broken = [] if self.mutant is None else ["--mutant", self.mutant.name]
        if self.plan == INTERLEAVING:
            return [sys.executable, "-m", "tests.chaos.mutants.interleaving", str(file), *broken]
        options = {"seconds": f"{self.seconds:g}", "seed": str(self.seed), "database": self.database}
        settings = [part for key, value in options.items() for part in (f"--{key}", value)]
        return [sys.executable, "-m", "tests.chaos.mutants.one", self.plan, str(file), *settings, *broken]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run found: violations and checks by invariant, examples, and what the program said if it failed."""

    task: Task
    took: float
    violations: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    missed_on: list[str] = field(default_factory=list)
    failed: str = ""

    @property
    def is_right(self) -> bool:
        """A mutant is caught by what it breaks, on each server; a control breaks nothing, and was looked at."""
        if self.failed:
            return False
        if self.task.mutant is None:
            return not self.violations and bool(self.checks)
        return bool(self.task.mutant.caught_by & self.violations.keys()) and not self.missed_on

    def line(self) -> str:
        """The run in a line."""
        counts = ", ".join(f"{name} {count}" for name, count in self.violations.items()) or "nothing"
        wanted = "clean" if self.task.mutant is None else "caught"
        verdict = wanted if self.is_right else f"NOT {wanted.upper()}"
        checks = f"{sum(self.checks.values())} checks"
        return f"{self.task.name:<22} {self.task.plan:<13} {verdict:<11} {counts:<44} {checks:>12} {self.took:5.0f} s"


def run(task: Task) -> Found:
    """Run it in a program of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jobrunner-mutants-") as directory:
        file = Path(directory) / "found.json"
        try:
            done = subprocess.run(
                task.command(file),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=task.seconds + BESIDES_S,
            )
        except subprocess.TimeoutExpired as error:
            return Found(task=task, took=time.monotonic() - began, failed=str(error))
        took = time.monotonic() - began
        if not file.exists():
            return Found(task=task, took=took, failed=done.stdout[-4000:])
        return _read(task, took, json.loads(file.read_text()))


def _read(task: Task, took: float, said: dict[str, object]) -> Found:
    violations: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    examples = []
    for tally in said["invariants"]:  # type: ignore[attr-defined]
        violations[tally["name"]] += tally["violations"]
        checks[tally["name"]] += tally["checks"]
        examples += [f"{tally['name']}: {words}" for words in tally["examples"][:1]]
    missed = said.get("nothing_found_on", [])
    assert isinstance(missed, list)
    return Found(
        task=task,
        took=took,
        violations=+violations,
        checks=+checks,
        examples=examples,
        missed_on=[] if task.mutant is None else missed,
    )


def tasks(asked: argparse.Namespace) -> list[Task]:
    """The mutants that were asked for, and a control for each of their plans."""
    chosen = [MUTANTS[name] for name in asked.only or MUTANTS]
    options = {"seconds": asked.seconds, "seed": asked.seed, "database": asked.database}
    found = [Task(plan=mutant.plan, mutant=mutant, **options) for mutant in chosen]
    plans = dict.fromkeys(mutant.plan for mutant in chosen)
    return [*found, *(Task(plan=plan, mutant=None, **options) for plan in plans)]


def main(arguments: list[str] | None = None) -> int:
    """Run all, print a line for each as it ends; the exit code."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    found = []
    with ThreadPoolExecutor(asked.at_once) as pool:
        for one in pool.map(run, tasks(asked)):
            found.append(one)
            print(one.line(), flush=True)
            shown = one.examples if asked.verbose or not one.is_right else []
            for words in [*shown, *one.failed.splitlines()]:
                print(f"    {words}", flush=True)
    wrong = [one for one in found if not one.is_right]
    print(
        f"{len(found) - len(wrong)} of {len(found)} runs as they should be, {time.monotonic() - began:.0f} s"
    )
    if asked.json is not None:
        table = [
            {
                "name": one.task.name,
                "plan": one.task.plan,
                "right": one.is_right,
                "violations": one.violations,
            }
            for one in found
        ]
        asked.json.write_text(json.dumps(table, indent=1))
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(MUTANTS),
        help="this mutant and its control; may be repeated",
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="for how long faults strike in a run (20)"
    )
    parser.add_argument("--seed", type=int, default=1, help="what schedules and postings are drawn from (1)")
    parser.add_argument("--database", choices=["mariadb", "postgresql"], default="mariadb")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    parser.add_argument("--verbose", action="store_true", help="print an example of each violation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
