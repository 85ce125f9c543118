"""The same measurements as jobrunner's, of stock TaskFlow."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.ours.drained import Drained, NotDone
from bench.ours.latency import Latency, measure
from bench.place import ROOT
from bench.servers import Servers
from bench.stamps import StampPipe
from bench.stock import flows
from bench.stock.parts import StockPlace, opened, post, stock_place

DEADLINE_S = 120.0
PAUSE_S = (0.1, 0.6)
WARM_UP = 3


def drain(servers: Servers, *, number: int, atoms: int = 1) -> Drained:
    """Post jobs, then let the conductor work them off."""
    with stock_place(servers) as place:
        with opened(place) as (board, storage):
            for _ in range(number):
                post(board, storage, flows.noop, atoms)
        with _conductor(place, jobs=number) as process:
            try:
                out, _ = process.communicate(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                raise NotDone(f"stock TaskFlow did not run {number} jobs in {DEADLINE_S:g} s") from None
        answer = json.loads(out)
        return Drained(jobs=answer["jobs"], seconds=answer["seconds"])


def posting(servers: Servers, *, number: int) -> float:
    """Jobs a second, each posted by itself; stock TaskFlow has no other way."""
    with stock_place(servers) as place, opened(place) as (board, storage):
        for _ in range(WARM_UP):
            post(board, storage, flows.noop, 1)
        start = time.perf_counter()
        for _ in range(number):
            post(board, storage, flows.noop, 1)
        return number / (time.perf_counter() - start)


def idle_latency(servers: Servers, *, number: int) -> Latency:
    """Post jobs one after the other to an idle conductor."""
    with (
        stock_place(servers) as place,
        StampPipe(servers.directory) as pipe,
        opened(place) as (board, storage),
        _conductor(place, jobs=None),
    ):
        return measure(
            lambda: post(board, storage, flows.stamped, str(pipe.path)),
            pipe,
            number=number,
            pause=PAUSE_S,
            warm_up=WARM_UP,
        )


@contextlib.contextmanager
def _conductor(place: StockPlace, *, jobs: int | None) -> Iterator[subprocess.Popen[str]]:
    """The conductor's process, once it is about to look for jobs; killed at the end."""
    setup = json.dumps({"place": place.to_json(), "jobs": jobs})
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stock.conductor", setup],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise NotDone("stock TaskFlow's conductor did not start")
        yield process
    finally:
        process.kill()
        process.communicate()
