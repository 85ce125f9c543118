"""A run: start everything, let users post and faults strike, heal everything, wait for the ends, and check.

One thread does all that starts, kills and heals; users and proxies have threads of their own.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from jobrunner.conductor.run import RETRY_ELSEWHERE_S
from jobrunner.conductor.worker.setting_off import CORRUPT_S
from tests.chaos import faults, gauges, history
from tests.chaos.case import Case, Harm, Kept, Kind, Posted, Use, read_beats, read_evidence
from tests.chaos.harm_rows import NO_STATE
from tests.chaos.harm_servers import SCRATCH, SQL_ERRORS
from tests.chaos.machines import Machine, now_us
from tests.chaos.meddlers import Meddlers
from tests.chaos.records import TERMINAL, named_deaths
from tests.chaos.stage import USERS, Stage
from tests.chaos.systems import Client, LifeClient, System, Unavailable
from tests.chaos.users import Users, draw_kinds

NAMES = ("alice", "bob", "carol", "dave", "erin")
READY_S = 60.0
REST_S = 4.0
LOOK_S = 0.2
HARMED_S = RETRY_ELSEWHERE_S + 5.0
MENDED_S = CORRUPT_S + 5.0
WARM_UP = 2
QUIET = 0.92
"""Faults strike in this part of the time; posting ends a little before."""
POSTING = 0.85


class NotReady(Exception):
    """The run could not even begin."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What kind of run.

    :param seconds: for how long faults strike and jobs are posted
    :param patience: seconds for which the ends of jobs are waited for after that
    :param every: seconds from fault to fault on average
    """

    seconds: float = 180.0
    jobs: int = 1000
    seed: int = 1
    database: str = "mariadb"
    machines: int = 3
    workers: int = 2
    lease: float = 2.0
    every: float = 1.6
    longest: float = 20.0
    patience: float = 120.0


class Harness:
    """One run.

    :param say: takes what is to be read while it goes on
    """

    def __init__(self, options: Options, system: System, directory: Path, say: Callable[[str], None]) -> None:
        self.options = options
        self.system = system
        self.directory = directory
        self.say = say
        self.evidence = directory / "evidence"
        self.evidence.mkdir()
        self.stage = Stage(directory, options.database, random.Random(f"stage {options.seed}"))
        self.machines: dict[str, Machine] = {}
        self.world = faults.World(
            lease=options.lease, machines=self.machines, stage=self.stage, posted=lambda: dict(self._posted())
        )
        self._users: Users | None = None
        self._meddlers: Meddlers | None = None
        self._warm: dict[str, Posted] = {}
        self._before: dict[str, Use] = {}
        self._behind: list[tuple[str, str, Use]] = []

    def run(self) -> Case:
        """The whole run; what it leaves for the checker."""
        schedule = self.schedule()
        self.say(f"seed {self.options.seed}; {len(schedule)} faults:")
        for draw in schedule:
            self.say(str(draw))
        try:
            self._set_up()
            jobs = self.kinds()
            self._warm_up(jobs)
            self._strike(schedule, jobs)
            self._come_to_rest()
            return self._case()
        finally:
            self.close()

    # What a run is about: one with a plan of its own says it here

    def schedule(self) -> list[faults.Draw]:
        """The faults of the run."""
        return faults.draw_schedule(
            self.options.seed,
            seconds=self.options.seconds * QUIET,
            machines=self.names,
            lease=self.options.lease,
            every=self.options.every,
            most=self.options.longest,
        )

    def catalogue(self) -> dict[str, type[faults.Fault]]:
        """What the names in the schedule mean."""
        return faults.catalogue()

    def kinds(self) -> list[Kind]:
        """What is posted."""
        rng = random.Random(f"jobs {self.options.seed}")
        return draw_kinds(rng, self.options.jobs, str(self.evidence), plain=not self.system.has_lives)

    @property
    def meddles(self) -> bool:
        """Whether users do something to their jobs, beside posting and looking."""
        return self.system.has_lives

    @property
    def names(self) -> list[str]:
        """The machines."""
        return list(NAMES[: self.options.machines])

    def close(self) -> None:
        """End everything. Closing twice is fine."""
        for some in (self._users, self._meddlers):
            if some is not None:
                some.stop()
        for machine in self.machines.values():
            machine.end()
        self.stage.close()

    # Before

    def _set_up(self) -> None:
        self.stage.start()
        self.say(f"redis {'keeps' if self.stage.redis_keeps else 'keeps nothing of'} what it has")
        self.system.prepare(self.stage.store_url)
        history.install(self.stage.store, self.stage.database_name)
        self.stage.query(f"CREATE TABLE {SCRATCH} (n INT)")
        for name in self.names:
            machine = Machine(
                name,
                self.system,
                self.stage.servers_for(name),
                self.directory,
                lease=self.options.lease,
                workers=self.options.workers,
            )
            self.machines[name] = machine
            machine.start()
        self._until(
            lambda: all(m.is_ready() for m in self.machines.values()), READY_S, "conductors are ready"
        )

    def _warm_up(self, jobs: list[Kind]) -> None:
        """Some jobs in peace, so that what processes use then can be compared with what they use in the end."""
        client = self._client()
        calm = {
            kind.name: kind
            for kind in jobs
            if kind.is_plain and not kind.poison and not kind.victim and kind.name != "long"
        }
        for kind in [*calm.values()] * WARM_UP * self.options.machines:
            job = client.post(kind.type, kind.parameters, None)
            self._warm[job] = Posted(job=job, kind=kind, at_us=now_us())
        self._until(
            lambda: all(client.look(job).terminal for job in self._warm), READY_S, "the first jobs have ended"
        )
        client.close()
        self._before = gauges.most_by_role(gauges.uses(self.machines.values()))

    def _client(self) -> Client:
        return self.system.client(self.stage.servers_for(USERS))

    # Meanwhile

    def _strike(self, schedule: list[faults.Draw], jobs: list[Kind]) -> None:
        seconds = self.options.seconds
        self._users = Users(self._client, jobs, seconds=seconds * POSTING, seed=self.options.seed)
        self._users.start()
        self._meddlers = self._make_meddlers(self._users)
        known = self.catalogue()
        began = time.monotonic()
        ticket = itertools.count()
        due: list[tuple[float, int, faults.Fault, bool]] = [
            (draw.at, next(ticket), known[draw.kind](self.world, draw), True) for draw in schedule
        ]
        heapq.heapify(due)
        pause = threading.Event()
        while due:
            at, _, fault, starts = heapq.heappop(due)
            pause.wait(max(0.0, at + began - time.monotonic()))
            self._look_after_conductors()
            now = time.monotonic() - began
            if starts and self._begin(fault, now):
                heapq.heappush(due, (min(now + fault.draw.seconds, seconds), next(ticket), fault, False))
            elif not starts and not fault.may_end():
                heapq.heappush(due, (now + LOOK_S, next(ticket), fault, False))
            elif not starts:
                fault.end()
        pause.wait(max(0.0, seconds + began - time.monotonic()))

    def _make_meddlers(self, users: Users) -> Meddlers | None:
        if not self.system.has_lives:
            return None
        client = cast("Callable[[], LifeClient]", self._client)
        meddlers = Meddlers(client, users.look_back, seed=self.options.seed, touches=self.meddles)
        meddlers.start()
        return meddlers

    def _begin(self, fault: faults.Fault, now: float) -> bool:
        try:
            words = fault.begin()
        except faults.NothingToBreak as error:
            self.say(f"{now:6.1f} s  {fault.draw.number:3} {fault.name}: left out, {error}")
            return False
        self.say(f"{now:6.1f} s  {fault.draw.number:3} {fault.name}: {words}")
        return True

    def _look_after_conductors(self) -> None:
        """Start those again that gave up, as an init system does; and remember it."""
        for machine in self.machines.values():
            if machine.gave_up():
                words = machine.how_it_ended()
                if words is not None:
                    self.world.given_up.append(words)
                    self.say(words.partition("\n")[0])
                machine.start()

    # After

    def _come_to_rest(self) -> None:
        for machine in self.machines.values():
            if machine.down:
                machine.start()
        assert self._users is not None
        users = self._users
        self._until(users.have_posted, self.options.patience, "everything is posted", must=False)
        self._until(self._all_up, READY_S, "conductors are ready again", must=False)
        if self._meddlers is not None:
            self._meddlers.calm_down()
            self._until(self._meddlers.have_done, self.options.patience, "signals are sent", must=False)
        self._until(self._all_ended, self.options.patience, "all jobs have ended", must=False)
        # Who finds a harmed row may hand its job back for a while; who claims it next says what is wrong.
        self._until(self._no_harmed_runs, HARMED_S, "harmed jobs are told of", must=False)
        self._until(self._no_mended_waits, MENDED_S, "jobs whose states were written over go on", must=False)
        users.stop()
        if self._meddlers is not None:
            self._meddlers.stop()
        threading.Event().wait(REST_S)
        self._look_after_conductors()
        self._behind = gauges.uses(self.machines.values())

    def _all_up(self) -> bool:
        self._look_after_conductors()
        return all(machine.is_ready() for machine in self.machines.values())

    def _posted(self) -> dict[str, Posted]:
        with_users = {} if self._users is None else self._users.posted
        return {**self._warm, **with_users}

    def _all_ended(self) -> bool:
        try:
            rows = self.stage.query("SELECT id, state FROM jobs")
            self._let_go()
        except SQL_ERRORS:
            return False
        return all(state in TERMINAL or job in self.world.harms for job, state in rows)

    def _let_go(self) -> None:
        """Resume what a word suspended that came late: nobody waits for its answer any more."""
        if self._meddlers is not None:
            self._meddlers.resume(row[0] for row in self.stage.query("SELECT id FROM jobs WHERE held = 1"))

    def _no_harmed_runs(self) -> bool:
        try:
            rows = self.stage.query("SELECT id, state FROM jobs")
        except SQL_ERRORS:
            return False
        return not any(state == "RUNNING" and job in self.world.harms for job, state in rows)

    def _no_mended_waits(self) -> bool:
        """Whoever claimed a job in between could not read it and put it off; its owner has written its state since."""
        try:
            rows = self.stage.query("SELECT id, state FROM jobs WHERE held = 0 OR held IS NULL")
        except SQL_ERRORS:
            return False
        mended = {harm.job for harm in self.world.harms.values() if harm.what == NO_STATE}
        return not any(state in ("WAITING", "SUSPENDED") and job in mended for job, state in rows)

    def _case(self) -> Case:
        self.world.bites["COMMITs without an answer"] = sum(
            proxy.commits_cut for proxy in self.stage.proxies.values()
        )
        assert self._users is not None
        self.world.bites["posts and looks that had to be repeated"] = self._users.refused
        client = self._client()
        posted = self._posted()
        seen = {job: _look(client, job) for job in posted}
        harms = {job: self._spoken_of(client, harm) for job, harm in self.world.harms.items()}
        kept = self._kept(cast("LifeClient", client), posted) if self._meddlers is not None else Kept()
        client.close()
        for machine in self.machines.values():
            machine.stop()
        evidence = read_evidence(self.evidence)
        return Case(
            lease=self.options.lease,
            has_epochs=self.system.has_epochs,
            posted=posted,
            evidence=evidence,
            beats=read_beats(self.evidence),
            history=history.read(self.stage.store, self.stage.database_name),
            reports=self._users.reports,
            deaths=named_deaths(self.world.deaths, evidence),
            harms=harms,
            windows=self.world.windows,
            machines=tuple(self.machines),
            absences=self.world.absences,
            seen=seen,
            before=self._before,
            behind=self._behind,
            starts=sum(machine.starts for machine in self.machines.values()),
            given_up=self.world.given_up,
            bites=dict(self.world.bites),
            exit_codes=[code for machine in self.machines.values() for code in machine.exit_codes],
            operations=[] if self._meddlers is None else self._meddlers.operations,
            sent=[] if self._meddlers is None else self._meddlers.sent,
            kept=kept,
        )

    def _kept(self, client: LifeClient, posted: Mapping[str, Posted]) -> Kept:
        ask = self.stage.query
        members = ask("SELECT jobset_id, id, state, error FROM jobs WHERE jobset_id IS NOT NULL")
        there = {row[0] for row in members}
        wanted = {one.jobset for one in posted.values() if one.jobset in there and one.jobset is not None}
        return Kept(
            attempts=[_row(row) for row in ask("SELECT job_id, attempt, state FROM job_attempts")],
            signals=[
                (job, json.loads(data), taken is not None)
                for job, data, taken in ask("SELECT job_id, data, taken_ms FROM signals ORDER BY seq")
            ],
            permits=[_row(row) for row in ask("SELECT job_id, semaphore FROM permits")],
            decisions=[_row(row) for row in ask("SELECT job_id, at_ms FROM events WHERE kind = 'unblocked'")],
            members=[
                (jobset, job, state, (error or "").startswith('{"kind":"Skipped"'))
                for jobset, job, state, error in members
                if jobset in wanted
            ],
            times={
                job: (ends, began) for job, ends, began in ask("SELECT id, expires_ms, started_ms FROM jobs")
            },
            customers={
                job: json.loads(parameters)["customer"]
                for job, parameters in ask("SELECT id, parameters FROM jobs WHERE type = 'chaos_only'")
            },
            jobsets={jobset: client.look_at_set(jobset) for jobset in wanted},
        )

    def _spoken_of(self, client: Client, harm: Harm) -> Harm:
        state, words = _look(client, harm.job)
        return replace(harm, state=state, terminal=state in TERMINAL, words=words)

    def _until(
        self, condition: Callable[[], object], seconds: float, what: str, *, must: bool = True
    ) -> None:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                self.say(f"not within {seconds:.0f} s: {what}")
                if must:
                    raise NotReady("\n".join([what, *(machine.tail() for machine in self.machines.values())]))
                return
            pause.wait(LOOK_S)


def _row(row: Any) -> Any:
    return tuple(row)


def _look(client: Client, job: str) -> tuple[str, str]:
    try:
        seen = client.look(job)
    except Unavailable as error:
        return "", f"not to be had: {error}"
    return seen.state, seen.words
