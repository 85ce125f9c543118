"""Which measurement fills which rows of the table, in the order in which they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench import place
from bench.figures import Measured
from bench.ours import (
    claiming,
    contending,
    drained,
    failover,
    idle,
    latency,
    listing,
    memory,
    placing,
    posting,
    waiting,
)
from bench.ours.claiming import Claims
from bench.ours.idle import IdleCpu
from bench.ours.latency import Latency
from bench.rows import LEASE_S
from bench.servers import Servers
from bench.stock import measure as stock

REPEAT = 3
ENOUGH_S = 20.0
"""Rates are the median of so many runs, since a machine has its moods; of fewer, if those took so long already."""


@dataclass
class Bench:
    """One run: its servers, and what stock TaskFlow reached in it."""

    servers: Servers
    stock: dict[str, float] = field(default_factory=dict)


Found = Mapping[str, Measured]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """Fills ``rows`` by ``run``."""

    rows: tuple[str, ...]
    run: Callable[[Bench], Found]


def _runs(run: Callable[[], float], times: int = REPEAT) -> list[float]:
    began = time.monotonic()
    found = [run()]
    while len(found) < times and time.monotonic() - began < ENOUGH_S:
        found.append(run())
    return found


# -- jobs a second, beside stock TaskFlow


def _stock(bench: Bench, key: str, run: Callable[[], float], *, times: int = 1) -> float:
    """Stock TaskFlow's figure, measured once in a run."""
    if key not in bench.stock:
        bench.stock[key] = median(_runs(run, times))
    return bench.stock[key]


def _stock_drain(bench: Bench) -> float:
    return _stock(bench, "drain", lambda: stock.drain(bench.servers, number=40).rate, times=REPEAT)


def _drain(bench: Bench, *, number: int, processes: int | None) -> Measured:
    with place.on_servers(bench.servers) as ours:
        rates = _runs(lambda: drained.drain(ours, number=number, processes=processes).rate)
    return Measured(value=median(rates), stock=_stock_drain(bench), detail={"runs": rates, "jobs": number})


def drain_one(bench: Bench) -> Found:
    return {"drain_one": _drain(bench, number=2000, processes=1)}


def drain_cores(bench: Bench) -> Found:
    return {"drain_cores": _drain(bench, number=5000, processes=None)}


def drain_embedded(bench: Bench) -> Found:
    with place.embedded(bench.servers) as ours:
        return {"drain_embedded": Measured(value=drained.drain(ours, number=1500).rate)}


def atoms(bench: Bench) -> Found:
    number, each = 300, 10
    reference = _stock(bench, "atoms", lambda: stock.drain(bench.servers, number=20, atoms=each).rate * each)
    with place.on_servers(bench.servers) as ours:
        rates = _runs(lambda: drained.drain(ours, number=number, atoms=each).rate * each)
    return {"atoms": Measured(value=median(rates), stock=reference, detail={"runs": rates, "jobs": number})}


def post(bench: Bench) -> Found:
    reference = _stock(bench, "post", lambda: stock.posting(bench.servers, number=100), times=REPEAT)
    with place.on_servers(bench.servers) as ours:
        one = _runs(lambda: posting.one_by_one(ours, number=400))
        batch = _runs(lambda: posting.in_batches(ours, batches=8))
    return {
        "post_one": Measured(value=median(one), stock=reference, detail={"runs": one}),
        "post_batch": Measured(value=median(batch), stock=reference, detail={"runs": batch}),
    }


# -- from posting to the first atom


def idle_latency(bench: Bench) -> Found:
    theirs = stock.idle_latency(bench.servers, number=15)
    with place.on_servers(bench.servers) as ours:
        found = _latencies("idle", latency.idle_latency(ours, number=200), theirs)
        return found | _latencies("idle_cores", latency.idle_latency(ours, number=60, processes=None), theirs)


def embedded_latency(bench: Bench) -> Found:
    with place.embedded(bench.servers) as ours:
        return _latencies("embedded", latency.idle_latency(ours, number=200, processes=2))


def _latencies(key: str, found: Latency, theirs: Latency | None = None) -> dict[str, Measured]:
    detail = {"samples_ms": [round(sample, 3) for sample in found.samples]}
    return {
        f"{key}_p50": Measured(value=found.p50, stock=None if theirs is None else theirs.p50, detail=detail),
        f"{key}_p99": Measured(value=found.p99, stock=None if theirs is None else theirs.p99),
    }


# -- what it costs


def claim_redis(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as few, place.on_servers(bench.servers) as many:
        return {"claim_redis": _claims(claiming.claims(few, many, number=400))}


def claim_mariadb(bench: Bench) -> Found:
    with place.on_mariadb(bench.servers) as few, place.on_mariadb(bench.servers) as many:
        return {"claim_mariadb": _claims(claiming.claims(few, many, number=200))}


def claim_sqlite(bench: Bench) -> Found:
    with place.embedded(bench.servers) as few, place.embedded(bench.servers) as many:
        return {"claim_sqlite": _claims(claiming.claims(few, many, number=200))}


def waiting_redis(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as without, place.on_servers(bench.servers) as among:
        return {"waiting_redis": _claims(waiting.claims(without, among, number=400))}


def waiting_mariadb(bench: Bench) -> Found:
    with place.on_mariadb(bench.servers) as without, place.on_mariadb(bench.servers) as among:
        return {"waiting_mariadb": _claims(waiting.claims(without, among, number=200))}


def _claims(found: Claims) -> Measured:
    return Measured(value=found.times, detail={"few_ms": found.few_ms, "many_ms": found.many_ms})


def semaphore(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as ours:
        found = contending.contend(ours, number=200, count=3, processes=4)
    detail = {"pauses_ms": [round(pause, 3) for pause in found.pauses]}
    return {
        "semaphore_most": Measured(value=found.most),
        "semaphore_idle": Measured(value=found.p99, detail=detail),
    }


def idle_cpu(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as ours:
        return {"idle_cpu": _cpu(idle.idle_cpu(ours, seconds=10))}


def idle_cpu_embedded(bench: Bench) -> Found:
    with place.embedded(bench.servers) as ours:
        return {"idle_cpu_embedded": _cpu(idle.idle_cpu(ours, seconds=10))}


def _cpu(found: IdleCpu) -> Measured:
    return Measured(
        value=found.busiest, detail={"supervisor": found.percent[0], "workers": found.percent[1:]}
    )


def _memory(bench: Bench, number: int, rows: tuple[str, ...]) -> Found:
    with place.on_servers(bench.servers) as ours:
        found = memory.memory(ours, number=number)
    detail = {"jobs": number, "supervisor": found.supervisor[-1], "worker": found.worker[-1]}
    figures = {
        "memory_supervisor": lambda: found.supervisor_mb,
        "memory_worker": lambda: found.worker_mb,
        "memory_growth": lambda: found.growth_mb,
    }
    return {row: Measured(value=figures[row](), detail=detail) for row in rows}


def memory_short(bench: Bench) -> Found:
    return _memory(bench, 2_000, ("memory_supervisor", "memory_worker"))


def memory_long(bench: Bench) -> Found:
    return _memory(bench, 20_000, ("memory_supervisor", "memory_worker", "memory_growth"))


# -- failover, and a million jobs


def failover_worker(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as ours:
        return {"failover_worker": _slowest(failover.after_worker(ours, times=5))}


def failover_conductor(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as ours:
        return {"failover_conductor": _slowest(failover.after_conductor(ours, times=3, lease=LEASE_S))}


def placed(bench: Bench) -> Found:
    return _placed(lambda: place.on_servers(bench.servers), "placed", turns=2)


def placed_mariadb(bench: Bench) -> Found:
    return _placed(lambda: place.on_mariadb(bench.servers), "placed_mariadb", turns=1)


def placed_sqlite(bench: Bench) -> Found:
    return _placed(lambda: place.embedded(bench.servers), "placed_sqlite", turns=1)


def _placed(opened: Callable[[], AbstractContextManager[place.Place]], key: str, *, turns: int) -> Found:
    """One busy node and one idle, with and without giving way, by turns: the machine's speed wanders."""
    with_it: list[placing.Placing] = []
    without: list[placing.Placing] = []
    for _ in range(turns):
        for runs, give_way in ((without, 0.0), (with_it, None)):
            with opened() as ours:
                runs.append(placing.placing(ours, number=100, give_way=give_way))
    ours_all, theirs_all = (
        Latency(samples=[sample for run in runs for sample in run.latency.samples])
        for runs in (with_it, without)
    )
    to_idle = {"with": [run.to_idle for run in with_it], "without": [run.to_idle for run in without]}
    times = {
        name: {"p50_ms": found.p50, "p99_ms": found.p99}
        for name, found in (("with", ours_all), ("without", theirs_all))
    }
    return {
        f"{key}_elsewhere": Measured(value=max(run.of - run.to_idle for run in with_it), detail=to_idle),
        f"{key}_p99": Measured(value=max(0.0, ours_all.p99 - theirs_all.p99), detail=times),
        f"{key}_p50": Measured(value=ours_all.p50, detail=times),
    }


def _slowest(seconds: list[float]) -> Measured:
    return Measured(value=max(seconds), detail={"runs": seconds})


def list_million(bench: Bench) -> Found:
    with place.on_servers(bench.servers) as ours:
        looks = listing.looks(ours, number=1_000_000)
    detail: dict[str, Any] = {look.kind: {"p95_ms": look.p95_ms, "rows": look.rows} for look in looks}
    return {
        "listing": Measured(value=max(look.p95_ms for look in looks), detail=detail),
        "listing_rows": Measured(value=max(look.rows for look in looks), detail=detail),
    }


_MEMORY = ("memory_supervisor", "memory_worker")

COSTS: tuple[Measure, ...] = (
    Measure(rows=("post_one", "post_batch"), run=post),
    Measure(rows=("idle_p50", "idle_p99", "idle_cores_p50", "idle_cores_p99"), run=idle_latency),
    Measure(rows=("embedded_p50", "embedded_p99"), run=embedded_latency),
    Measure(rows=("claim_redis",), run=claim_redis),
    Measure(rows=("claim_mariadb",), run=claim_mariadb),
    Measure(rows=("claim_sqlite",), run=claim_sqlite),
    Measure(rows=("semaphore_most", "semaphore_idle"), run=semaphore),
    Measure(rows=("idle_cpu",), run=idle_cpu),
    Measure(rows=("idle_cpu_embedded",), run=idle_cpu_embedded),
    Measure(rows=("failover_worker",), run=failover_worker),
    Measure(rows=("placed_elsewhere", "placed_p99", "placed_p50"), run=placed),
)
RATES: tuple[Measure, ...] = (
    Measure(rows=("drain_one",), run=drain_one),
    Measure(rows=("drain_cores",), run=drain_cores),
    Measure(rows=("atoms",), run=atoms),
    Measure(rows=("drain_embedded",), run=drain_embedded),
)
ALL = (*COSTS, Measure(rows=_MEMORY, run=memory_short), *RATES)
FULL = (
    *COSTS,
    *RATES,
    Measure(rows=(*_MEMORY, "memory_growth"), run=memory_long),
    Measure(rows=("failover_conductor",), run=failover_conductor),
    Measure(rows=("waiting_redis",), run=waiting_redis),
    Measure(rows=("waiting_mariadb",), run=waiting_mariadb),
    Measure(
        rows=("placed_mariadb_elsewhere", "placed_mariadb_p99", "placed_mariadb_p50"), run=placed_mariadb
    ),
    Measure(rows=("placed_sqlite_elsewhere", "placed_sqlite_p99", "placed_sqlite_p50"), run=placed_sqlite),
    Measure(rows=("listing", "listing_rows"), run=list_million),
)
