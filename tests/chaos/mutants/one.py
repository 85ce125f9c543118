"""``python -m tests.chaos.mutants.one PLAN FILE``: one run by a plan, with a mutant or with nothing broken.

A program of its own, since a run leaves servers' names, threads and proxies behind. Writes what it found as JSON.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.chaos.__main__ import ROOM_MODE, leave, say
from tests.chaos.checker import check
from tests.chaos.harness import Options
from tests.chaos.mutants.broken import MUTANTS
from tests.chaos.mutants.plans import PLANS, Broken, Planned
from tests.chaos.systems import Jobrunner

BESIDES_S = 200.0
PATIENCE_S = 15.0


def main() -> None:
    """Run, check, write."""
    asked = _parser().parse_args()
    signal.signal(signal.SIGTERM, leave)
    faulthandler.dump_traceback_later(asked.seconds + BESIDES_S, exit=True)
    logging.getLogger("jobrunner").setLevel(logging.ERROR)
    plan = PLANS[asked.plan]
    options = Options(
        seconds=asked.seconds,
        jobs=int(plan.jobs_a_second * asked.seconds),
        seed=asked.seed,
        database=asked.database,
        workers=plan.workers,
        patience=PATIENCE_S,
    )
    directory = Path(tempfile.mkdtemp(prefix="jobrunner-mutant-"))
    directory.chmod(ROOM_MODE)  # PostgreSQL runs as another user, and must get to its data
    try:
        system = Jobrunner() if asked.mutant is None else Broken(asked.mutant)
        harness = Planned(options, system, directory, say)
        harness.plan = plan
        case = harness.run()
        tallies, takeovers = check(case)
    finally:
        if not asked.keep:
            shutil.rmtree(directory)
    found = {
        "jobs": len(case.posted),
        "takeovers": takeovers,
        "invariants": [asdict(tally) for tally in tallies],
    }
    asked.file.write_text(json.dumps(found, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants.one", description=__doc__)
    parser.add_argument("plan", choices=sorted(PLANS))
    parser.add_argument("file", type=Path, help="where to write what was found")
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long faults strike (20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["mariadb", "postgresql"], default="mariadb")
    parser.add_argument("--keep", action="store_true", help="keep logs and evidence")
    return parser


if __name__ == "__main__":
    sys.exit(main())
