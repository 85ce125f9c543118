"""``python -m tests.chaos``: one run; prints its faults and what held, and exits with 1 if anything did not."""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import pickle
import secrets
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from tests.chaos import history
from tests.chaos.case import Case
from tests.chaos.checker import Tally, check
from tests.chaos.harness import Harness, Options
from tests.chaos.systems import find_system

ROOM_MODE = 0o711
BESIDES_S = 300.0
"""Starting, warming up, resting and checking may take so long."""


def main(arguments: list[str] | None = None) -> int:
    """Run, check, print; the exit code."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, leave)
    # Should the harness itself hang: its servers and conductors end with it.
    faulthandler.enable()
    faulthandler.dump_traceback_later(asked.seconds + 2 * asked.patience + BESIDES_S, exit=True)
    logging.getLogger("jobrunner").setLevel(logging.ERROR)  # users are told of outages all the time here
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1_000_000)
    options = Options(
        seconds=asked.seconds, jobs=asked.jobs, seed=seed, database=asked.database, machines=asked.machines,
        every=asked.every, longest=asked.longest, patience=asked.patience,
    )  # fmt: skip
    directory = Path(tempfile.mkdtemp(prefix="jobrunner-chaos-"))
    directory.chmod(ROOM_MODE)  # PostgreSQL runs as another user, and must get to its data
    system = find_system(asked.system, startup=asked.startup)
    harness = Harness(options, system, directory, say)
    case = harness.run()
    tallies, takeovers = check(case)
    violations = sum(tally.violations for tally in tallies)
    _print(tallies, case, takeovers, options, system.name)
    if asked.json is not None:
        asked.json.write_text(json.dumps(_as_json(tallies, takeovers, options, system.name), indent=1))
    if violations or asked.keep:
        (directory / "history.jsonl").write_text(history.dump(case.history))
        (directory / "case.pickle").write_bytes(pickle.dumps(case))
        say(f"kept, with the conductors' logs, the evidence and the history: {directory}")
        say(
            f"once more: make chaos SEED={seed} SECONDS={asked.seconds:g} JOBS={asked.jobs} DATABASE={asked.database}"
        )
    else:
        shutil.rmtree(directory)
    return 1 if violations else 0


def say(line: str) -> None:
    print(line, flush=True)


def leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="for how long faults strike (180)")
    parser.add_argument("--jobs", type=int, default=1000, help="how many jobs are posted meanwhile (1000)")
    parser.add_argument("--seed", type=int, help="what everything random comes from; else a new one is drawn")
    parser.add_argument("--database", choices=["mariadb", "postgresql"], default="mariadb")
    parser.add_argument("--machines", type=int, default=3, help="how many conductors run (3)")
    parser.add_argument(
        "--every", type=float, default=1.6, help="seconds from fault to fault, on average (1.6)"
    )
    parser.add_argument("--longest", type=float, default=20.0, help="no fault lasts longer, in seconds (20)")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds to wait for the last ends (120)"
    )
    parser.add_argument("--system", default="jobrunner", help="what is tested: jobrunner, or module:Class")
    parser.add_argument(
        "--startup",
        type=Path,
        help="a directory with a sitecustomize.py for its conductors: breaks them on purpose",
    )
    parser.add_argument("--json", type=Path, help="write the table there as well")
    parser.add_argument("--keep", action="store_true", help="keep logs, evidence and history in any case")
    return parser


def _print(tallies: list[Tally], case: Case, takeovers: int, options: Options, system: str) -> None:
    say("")
    say(f"{system} on {options.database}, {options.machines} conductors, seed {options.seed}")
    ended = len(case.posted)
    say(f"{ended} jobs acknowledged, {len(case.harms)} of them corrupted; {takeovers} takeovers")
    say(", ".join(f"{count} {what}" for what, count in case.bites.items()))
    say("")
    for tally in tallies:
        say(f"{tally.name:<4} {tally.says:<66} {tally.checks:>7} checks {tally.violations:>5} violations")
        if tally.note:
            say(f"     {tally.note}")
        for example in tally.examples:
            say(f"     ! {example}")


def _as_json(tallies: list[Tally], takeovers: int, options: Options, system: str) -> dict[str, object]:
    return {
        "system": system,
        "options": asdict(options),
        "takeovers": takeovers,
        "invariants": [asdict(tally) for tally in tallies],
    }


if __name__ == "__main__":
    sys.exit(main())
