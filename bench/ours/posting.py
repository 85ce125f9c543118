"""How fast jobs are posted from Python."""

from __future__ import annotations

import time

from bench.place import Place
from jobrunner.jobs.post import post, post_many
from jobrunner.model import Posting

BATCH = 500
WARM_UP = 20


def one_by_one(place: Place, *, number: int) -> float:
    """Jobs a second, each posted by itself."""
    posting = Posting(type="bench_noop")
    with place.context() as context:
        for _ in range(WARM_UP):
            post(context, posting)
        start = time.perf_counter()
        for _ in range(number):
            post(context, posting)
        return number / (time.perf_counter() - start)


def in_batches(place: Place, *, batches: int) -> float:
    """Jobs a second, posted in batches of BATCH."""
    batch = [Posting(type="bench_noop")] * BATCH
    with place.context() as context:
        post_many(context, batch)
        start = time.perf_counter()
        for _ in range(batches):
            post_many(context, batch)
        return batches * BATCH / (time.perf_counter() - start)
