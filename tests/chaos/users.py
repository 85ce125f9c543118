"""The users of a run: some post jobs over time and try again until it is acknowledged, others look at jobs."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from jobrunner.model import After, When
from jobrunner.policies import Hold, Policies, RetryPolicy
from tests.chaos.case import Kind, Posted, Report
from tests.chaos.conditions import LOCK, conditions
from tests.chaos.machines import now_us
from tests.chaos.systems import Client, LifeClient, Unavailable

log = logging.getLogger(__name__)

AGAIN_S = 0.2
LOOK_EVERY_S = 0.02
WAIT_S = 1.0
STOP_S = 40.0
"""A call to a server that hangs takes half a minute to give up."""
POSTERS = 3
OBSERVERS = 2
UNITS = 3
"""Of the semaphore that some jobs hold."""


def kinds(evidence: str) -> list[tuple[int, Kind]]:
    """What is posted, each with its weight."""

    def kind(name: str, ends: str, type_: str | None = None, **options: object) -> Kind:
        own = {key: options.pop(key) for key in ("words", "deadly", "poison", "victim") if key in options}
        parameters = {"evidence": evidence, **options}
        made = {"name": name, "type": type_ or f"chaos_{name}", "parameters": parameters}
        return Kind(**made, ends=tuple(ends.split()), **own)  # type: ignore[arg-type]

    def poison(how: str, ends: str, words: str, *, deadly: bool = False) -> Kind:
        return kind(how, ends, "chaos_poison", words=words, deadly=deadly, poison=True, how=how)

    return [
        (260, kind("line", "SUCCEEDED", seconds=0.3)),
        (120, kind("fan", "SUCCEEDED", seconds=0.8)),
        (100, kind("retry", "SUCCEEDED", seconds=0.15)),
        (120, kind("undone", "REVERTED", seconds=0.4, words="as it is meant to")),
        (100, kind("progress", "SUCCEEDED", seconds=1.5)),
        (120, kind("long", "SUCCEEDED", seconds=5.0)),
        (60, kind("victim", "SUCCEEDED", victim=True)),
        (5, poison("exit", "FAILED", "died", deadly=True)),
        (5, poison("segfault", "FAILED", "died", deadly=True)),
        (12, poison("sysexit", "REVERTED", "tried to end the process")),
        (6, poison("large", "REVERTED", "large")),
        (12, poison("odd", "REVERTED", "JSON")),
        (12, poison("deep", "REVERTED", "JSON")),
    ]


SEMAPHORE = Policies(holds=(Hold(name="chaos semaphore", count=UNITS),))


def lives(evidence: str) -> list[tuple[int, Kind]]:
    """What asks for more than to be run, each with its weight: attempts, waits, semaphores, jobsets."""

    def kind(name: str, ends: str, type_: str, **options: Any) -> Kind:
        fields = ("words", "policies", "runs", "signals", "waits", "after")
        own = {key: options.pop(key) for key in fields if key in options}
        return Kind(name=name, type=type_, parameters={"evidence": evidence, **options}, ends=(ends,), **own)

    def member(name: str, type_: str, ends: str, *after: After, **options: Any) -> Kind:
        return kind(name, ends, type_, after=after, **options)

    def jobset(name: str, *members: Kind) -> Kind:
        return Kind(name=name, type="", parameters={}, ends=(), members=members)

    thrice = Policies(retry=RetryPolicy(attempts=3, delay=0.3, factor=1.5))
    counted_thrice = replace(thrice, holds=SEMAPHORE.holds)
    again = kind("again", "SUCCEEDED", "chaos_flaky", until=3, policies=thrice, runs=3)
    given_up = kind("given up", "REVERTED", "chaos_flaky", policies=thrice, runs=3, words="as it is meant to")
    short = {"steps": 2, "seconds": 0.15}
    chain = jobset(
        "chain",
        member("link", "chaos_line", "SUCCEEDED", **short),
        member("link", "chaos_nap", "SUCCEEDED", After(job=0), naps=0.5, waits=0.5),
        member("link", "chaos_fan", "SUCCEEDED", After(job=1), seconds=0.3),
    )
    broken = jobset(
        "broken set",
        member("link", "chaos_line", "SUCCEEDED", **short),
        member("link", "chaos_undone", "REVERTED", seconds=0.15, words="as it is meant to"),
        member("mended", "chaos_line", "SUCCEEDED", After(job=1, when=When.FAILURE), **short),
        member("last", "chaos_line", "SUCCEEDED", After(job=0), After(job=1, when=When.ALWAYS), **short),
        member("skipped", "chaos_line", "CANCELLED", After(job=0), After(job=1), words="skipped", **short),
        member("skipped", "chaos_line", "CANCELLED", After(job=4), words="skipped", **short),
    )
    patient = jobset(
        "patient set",
        member("link", "chaos_flaky", "SUCCEEDED", until=2, policies=thrice, runs=2),
        member("link", "chaos_line", "SUCCEEDED", After(job=0), policies=SEMAPHORE, **short),
        member("never", "chaos_line", "CANCELLED", After(job=0, when=When.FAILURE), words="skipped", **short),
    )
    return [
        (70, again),
        (50, given_up),
        (60, kind("nap", "SUCCEEDED", "chaos_nap", naps=1.5, waits=1.5)),
        (110, kind("signals", "SUCCEEDED", "chaos_signals", signals=2)),
        (50, kind("locked", "SUCCEEDED", "chaos_line", steps=2, seconds=0.1, policies=LOCK)),
        (60, kind("counted", "SUCCEEDED", "chaos_line", steps=3, seconds=0.2, policies=SEMAPHORE)),
        (20, kind("counted again", "SUCCEEDED", "chaos_flaky", until=3, policies=counted_thrice, runs=3)),
        (40, chain),
        (40, broken),
        (20, patient),
    ]  # fmt: skip


def draw_kinds(rng: random.Random, count: int, evidence: str, *, plain: bool = False) -> list[Kind]:
    """So many jobs and sets: each kind at least once if there is room, the others by weight.

    :param plain: nothing that asks for more than to be run
    """
    more = () if plain else (*lives(evidence), *conditions(evidence))
    weights, known = zip(*kinds(evidence), *more, strict=True)
    drawn = [*known, *rng.choices(known, weights=weights, k=max(0, count - len(known)))][:count]
    rng.shuffle(drawn)
    return drawn


class Users:
    """All of them, in threads of their own.

    :param make_client: a client for one thread
    :param jobs: what is to be posted
    :param seconds: over how long a time
    """

    def __init__(
        self, make_client: Callable[[], Client], jobs: list[Kind], *, seconds: float, seed: int
    ) -> None:
        self._make_client = make_client
        self._jobs = list(enumerate(jobs))[::-1]
        self._every = seconds / max(1, len(jobs))
        self._seed = seed
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.posted: dict[str, Posted] = {}
        self.reports: list[Report] = []
        self.unacknowledged = 0
        self.refused = 0
        """How often posting or looking failed, to be tried again."""
        self._began = 0.0
        self._ended: dict[str, str] = {}

    def start(self) -> None:
        self._began = time.monotonic()
        works = [self._post_all] * POSTERS + [self._observe] * OBSERVERS
        for number, work in enumerate(works):
            thread = threading.Thread(
                target=work, args=(random.Random(f"{self._seed} user {number}"),), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def have_posted(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads[:POSTERS])

    def stop(self) -> None:
        """Post and look no more. Stopping twice is fine."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def look_back(self) -> tuple[dict[str, Posted], dict[str, str]]:
        """The acknowledged jobs, and how those ended of which somebody was told."""
        with self._lock:
            return dict(self.posted), dict(self._ended)

    def open_jobs(self) -> list[str]:
        """The acknowledged jobs."""
        with self._lock:
            return list(self.posted)

    def _next(self) -> tuple[int, Kind] | None:
        with self._lock:
            return self._jobs.pop() if self._jobs else None

    # Posting

    def _post_all(self, rng: random.Random) -> None:
        client = self._make_client()
        while (drawn := self._next()) is not None:
            number, kind = drawn
            if self._stopping.wait(max(0.0, self._began + number * self._every - time.monotonic())):
                break
            # Without a key a post that is tried again may have come through before: then there are two jobs of it.
            # Nobody would send the other one its signals.
            # Nor are those for whom a set is asked for the same the next time.
            keyed = (kind.signals or rng.random() < 0.8) and not kind.on
            key = f"chaos-{self._seed}-{number}" if keyed else None
            self._post(client, kind, key)
        client.close()

    def _post(self, client: Client, kind: Kind, key: str | None) -> None:
        while not self._stopping.is_set():
            try:
                made = _posted(client, kind, key)
            except Unavailable:
                self.refused += 1
                self._stopping.wait(AGAIN_S)
                continue
            with self._lock:
                self.posted |= {one.job: one for one in made}
            return
        self.unacknowledged += 1

    # Looking

    def _observe(self, rng: random.Random) -> None:
        client = self._make_client()
        while not self._stopping.wait(LOOK_EVERY_S):
            known = self.open_jobs()
            if not known:
                continue
            # Mostly the last ones: those before have ended long ago. But an end must stay one.
            job = rng.choice(known[-60:] if rng.random() < 0.8 else known)
            began_us = now_us()
            try:
                seen = client.wait(job, WAIT_S) if rng.random() < 0.1 else client.look(job)
            except Unavailable:
                self.refused += 1
                self._stopping.wait(AGAIN_S)
                continue
            if seen is not None and seen.terminal:
                with self._lock:
                    self._ended[job] = seen.state
            if seen is not None:
                self.reports.append(
                    Report(
                        job=job,
                        state=seen.state,
                        terminal=seen.terminal,
                        began_us=began_us,
                        at_us=now_us(),
                    )
                )
        client.close()


def _posted(client: Client, kind: Kind, key: str | None) -> list[Posted]:
    """Post it; what is there once that is acknowledged."""
    if kind.is_plain:
        return [Posted(job=client.post(kind.type, kind.parameters, key), kind=kind, at_us=now_us())]
    made = cast("LifeClient", client).post_kind(kind, key)
    at_us, ids = now_us(), [job for job, _ in made.jobs]
    return [
        Posted(job=job, kind=one, at_us=at_us, jobset=made.jobset, after=_after(one, ids))
        for job, one in made.jobs
    ]


def _after(kind: Kind, ids: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((ids[one.job], one.when.value) for one in kind.after if isinstance(one.job, int))
