"""Stock TaskFlow's non-blocking conductor as a program.

Its argument is JSON: ``place``, and ``jobs``, the number of jobs after which it ends, or null to go on until it is
killed. Prints JSON: ``seconds`` from when it began to look for jobs to when it had consumed the last one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from taskflow.conductors import backends

from bench.stock.parts import THREADS, StockPlace, opened


def main() -> None:
    setup = json.loads(sys.argv[1])
    with opened(StockPlace(**setup["place"])) as (board, storage):
        conductor = backends.fetch(
            "nonblocking", "bench", board, persistence=storage, engine="serial", max_simultaneous_jobs=THREADS
        )
        consumed: list[float] = []

        def on_consumed(event: str, details: Any) -> None:
            consumed.append(time.perf_counter())
            if len(consumed) == setup["jobs"]:
                conductor.stop()

        conductor.notifier.register("job_consumed", on_consumed)
        start = time.perf_counter()
        print(json.dumps({"ready": True}), flush=True)
        conductor.run()
    print(json.dumps({"seconds": consumed[-1] - start, "jobs": len(consumed)}), flush=True)


if __name__ == "__main__":
    main()
