"""The state machine: draws what people, conductors, servers and time do; each step is compared with the model."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from taskflow import states

from jobrunner.errors import JobNotFound, LeaseLost, WrongState
from jobrunner.model import CancelMode, JobState, Parked, Priority
from jobrunner.persistence.ownership.settling import HELD_NOTE, Settlement
from jobrunner.policies import NO_POLICIES, Hold, Policies, RetryPolicy
from tests.conformance.model.checks import check_board, check_histories, check_store
from tests.conformance.model.expected import AGAIN_MS, PART, SEMAPHORE, SIGNAL, UNITS
from tests.conformance.model.expected_sets import ExpectedSets
from tests.conformance.model.hands import Differs, Hand, Run, in_ms, nothing_done, same
from tests.conformance.model.world import TYPES, World, classes

LEASE_S = 10.0
OWNERS = ("alice", "bob", "carol")
MOST_JOBS = 8
MOST_SIGNALS = 3
CALM = 3
"""Steps of workers between two that cancel jobs or harm the board, which else would be most of what happens."""
TWICE = Policies(retry=RetryPolicy(attempts=2, delay=AGAIN_MS / 1000, jitter=0))
HOLDS = (Hold(name=SEMAPHORE, count=UNITS),)
ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.FAILED, JobState.CANCELLED)

owners = st.sampled_from(OWNERS)
leases = st.sampled_from([LEASE_S, LEASE_S / 4])
some_types = st.sampled_from([TYPES, TYPES, TYPES[:1], TYPES[1:]])
picks = st.integers(0, 9)
delays = st.sampled_from([0.0, 15.0])
mostly = st.sampled_from([True, True, True, False])


def policies_of(attempts: int, needs: bool) -> Policies:
    return replace(NO_POLICIES if attempts == 1 else TWICE, holds=HOLDS if needs else ())


class BoardAndStore(RuleBasedStateMachine):
    """Three conductors' workers, some people and two reconcilers, on one board and one store.

    What holds after every step: the store's rows, what is recorded of every flow, the claims and the number of jobs on
    the board are those of the model; no epoch has fallen. What holds in the end, whatever happened: every job that is
    open can be claimed, begun and ended, and has ended once an attempt.
    """

    jobs = Bundle("jobs")

    def __init__(self, world: World) -> None:
        super().__init__()
        world.reset()
        self.world = world
        self.expected = ExpectedSets(world.clock.now_ms)
        self.generation = 0
        self.hands = {name: Hand(f"{name}:0") for name in OWNERS}
        self.epochs: dict[str, int] = {}
        self.calm, self.worked = CALM, True
        self.board_before: tuple[Any, Any] | None = None
        self.sent = 0

    @initialize(target=jobs, count=st.integers(1, 4), limit=st.integers(0, 3))
    def open_with(self, count: int, limit: int) -> Any:
        """Some jobs are there, and some of them run: hypothesis leaves out rules at random, also those that start."""
        posted = self.post(TYPES[0], count, Priority.NORMAL, 0, True)
        if limit:
            self.claim(OWNERS[0], TYPES, limit, LEASE_S, True, False)
        return posted

    # -- people

    @precondition(lambda self: len(self.expected.jobs) < MOST_JOBS)
    @rule(
        target=jobs,
        type_=st.sampled_from(TYPES),
        count=st.sampled_from([1, 2, 3]),
        priority=st.sampled_from([Priority.NORMAL, Priority.NORMAL, Priority.HIGH]),
        delay=st.sampled_from([0, 0, 0, 5, 60]),
        seen=mostly,
        attempts=st.sampled_from([1, 2]),
        needs=st.sampled_from([False, False, True]),
    )
    def post(
        self,
        type_: str,
        count: int,
        priority: Priority,
        delay: int,
        seen: bool,
        attempts: int = 1,
        needs: bool = False,
    ) -> Any:
        policies = policies_of(attempts, needs)
        ids = self.world.post(type_, count, priority, delay * 1000, seen=seen, policies=policies)
        self.expected.posted(ids, type_, priority, delay * 1000, seen=seen, attempts=attempts, needs=needs)
        return multiple(*ids)

    @precondition(lambda self: self.calm >= CALM)
    @rule(job=jobs, mode=st.sampled_from(CancelMode), seen=mostly)
    def cancel(self, job: str, mode: CancelMode, seen: bool) -> None:
        self.calm, self.worked = 0, True
        if job not in self.expected.jobs:
            self._is_gone(job, lambda: self.world.cancel(job, mode, seen=seen))
            return
        state: JobState | None = None
        before = self.world.jobs()[job]
        later = before.parked is not None or before.available_ms > before.updated_ms
        with contextlib.suppress(WrongState):
            state = self.world.cancel(job, mode, seen=seen)
        same(f"cancelling {job}", state, self.expected.cancel(job, mode, seen=seen, later=later))

    @precondition(lambda self: self.calm >= CALM)
    @rule(job=jobs, seen=mostly)
    def hold(self, job: str, seen: bool) -> None:
        self.calm, self.worked = 0, True
        self._asks("suspending", job, self.world.suspend, self.expected.suspend, seen)

    @precondition(lambda self: self.calm >= CALM)
    @rule(job=jobs, seen=mostly)
    def delete(self, job: str, seen: bool) -> None:
        """Remove a job for good; conductors may have it in hand still, and the board may know it."""
        self.calm, self.worked = 0, True
        self._asks("deleting", job, self.world.delete, self.expected.delete, seen)

    @precondition(lambda self: self.worked and any(job.held for job in self.expected.jobs.values()))
    @rule(pick=picks, seen=mostly)
    def let_go(self, pick: int, seen: bool) -> None:
        self.worked = False
        held = [job.id for job in self.expected.jobs.values() if job.held]
        self._asks("resuming", held[pick % len(held)], self.world.resume, self.expected.resume, seen)

    @precondition(lambda self: self.worked and any(self._may_be_told(job) for job in self.expected.jobs))
    @rule(pick=picks, seen=mostly)
    def signal(self, pick: int, seen: bool) -> None:
        told = [job for job in self.expected.jobs if self._may_be_told(job)]
        self._signal(told[pick % len(told)], seen)

    def _may_be_told(self, job_id: str) -> bool:
        """One that runs, or awaits it; any other would only have it lie there, or refuse it."""
        job = self.expected.jobs.get(job_id)
        if job is None:
            return False
        return (job.state is JobState.RUNNING or job.awaits is not None) and len(job.signals) < MOST_SIGNALS

    def _signal(self, job: str, seen: bool) -> None:
        self.worked = False
        self.sent += 1
        data = f"signal {self.sent}"

        def send(job_id: str, *, seen: bool) -> None:
            self.world.signal(job_id, data, seen=seen)

        def expect(job_id: str, *, seen: bool) -> bool:
            return self.expected.signal(job_id, data, seen=seen)

        self._asks("signalling", job, send, expect, seen)

    @precondition(lambda self: self.worked and self.expected.board.delayed())
    @rule(pick=picks)
    def hasten(self, pick: int) -> None:
        """Offer a job at once that stands on the board for later."""
        self.worked = False
        delayed = self.expected.board.delayed()
        job = delayed[pick % len(delayed)]
        hastened = self.world.board.hasten([job])
        certain, possible = self.expected.board.hasten([job])
        if not certain <= hastened <= possible:
            raise Differs(f"hastened: {hastened}, and should be {certain} to {possible}")

    def _asks(self, what: str, job: str, ask: Any, expect: Any, seen: bool) -> None:
        if job not in self.expected.jobs:
            self._is_gone(job, lambda: ask(job, seen=seen))
            return
        fine = False
        with contextlib.suppress(WrongState):
            ask(job, seen=seen)
            fine = True
        same(f"{what} {job}", fine, expect(job, seen=seen))

    def _is_gone(self, job: str, ask: Any) -> None:
        try:
            ask()
        except JobNotFound:
            return
        raise Differs(f"asking for something of {job}: it was done, and the job was deleted")

    @precondition(lambda self: any(not job.is_open for job in self.expected.jobs.values()))
    @rule(job=jobs, seen=mostly)
    def retry(self, job: str, seen: bool) -> None:
        self._asks("retrying", job, self.world.retry, self.expected.retry, seen)

    # -- workers

    @rule(
        owner=owners,
        types=some_types,
        limit=st.integers(1, 3),
        lease=leases,
        begins=st.booleans(),
        looks=st.booleans(),
    )
    def claim(
        self, owner: str, types: tuple[str, ...], limit: int, lease: float, begins: bool, looks: bool
    ) -> None:
        """Claim, perhaps after a look at the line; and begin, or be slow to."""
        self._works()
        hand = self.hands[owner]
        if looks:
            line = self.world.board.peek(classes(types), limit=100)
            same("the line", line, self.expected.board.line(types))
        found = self.world.claim(hand.name, types, limit, lease)
        same("claimed", found, self.expected.board.claim(hand.name, types, limit, in_ms(lease)))
        hand.claimed += [job_id for job_id in found if job_id not in {*hand.claimed, *hand.runs}]
        if begins:
            self._begin(hand)

    @precondition(lambda self: self._hands("claimed"))
    @rule(pick=picks)
    def begin_late(self, pick: int) -> None:
        """Begin what was claimed before: perhaps long before, so that the lease is lost."""
        self._begin(self._hand(pick, "claimed"))

    @precondition(lambda self: self._hands("claimed"))
    @rule(pick=picks, delay=delays)
    def give_back(self, pick: int, delay: float) -> None:
        """Hand back claims that were not begun, as when the store is away."""
        hand = self._hand(pick, "claimed")
        ids, hand.claimed = hand.claimed, []
        released = self.world.board.release(hand.name, ids, delay=delay)
        same("released", released, self.expected.board.release(hand.name, ids, in_ms(delay)))

    @precondition(lambda self: self._hands("claimed"))
    @rule(pick=picks, lease=leases)
    def pass_on(self, pick: int, lease: float) -> None:
        """Give claims to another worker, as to a process of its own."""
        hand = self._hand(pick, "claimed")
        other = next(one for one in self.hands.values() if one is not hand)
        ids, hand.claimed = hand.claimed, []
        passed = self.world.board.pass_on(hand.name, other.name, ids, lease=lease)
        expected = self.expected.board.pass_on(hand.name, other.name, ids, in_ms(lease))
        same("passed on", set(passed), set(expected))
        other.claimed += [job_id for job_id in passed if job_id not in {*other.claimed, *other.runs}]

    def _begin(self, hand: Hand) -> None:
        ids, hand.claimed = hand.claimed, []
        if not ids:
            return
        begun = self.world.begin(hand.name, ids)
        refused = {one.job.id: in_ms(one.delay) for one in begun.refused}
        expected = self.expected.begin(hand.name, ids, refused)
        same("begun", {job.id: job.epoch for job in begun.started}, expected.started)
        same("begun for the first time", begun.fresh, expected.fresh)
        same("found to have ended", set(begun.finished), expected.finished)
        same("found to be parked", set(begun.parked), expected.parked)
        early = {job_id: in_ms(seconds) for job_id, seconds in begun.early.items()}
        same("found to be early", early, expected.early)
        same("found to be unknown", set(begun.unknown), expected.unknown)
        same("corrupt", begun.corrupt, [])
        same("refused the semaphore without need", expected.unjustly_refused, set())
        for job in begun.started:
            recorded = self.world.load(job, fresh=job.id in begun.fresh)
            atoms = {atom.name: (atom.state, atom.results) for atom in recorded.detail}
            same(f"read back of {job.id}", atoms, self.expected.jobs[job.id].atoms or nothing_done())
            hand.runs[job.id] = Run(recorded, self.expected.jobs[job.id].entry)
        same("set aside", {job.id for job in begun.set_aside}, expected.set_aside)
        hand.left += expected.set_aside
        hand.is_done_with(*begun.finished, *begun.parked, *begun.unknown)
        for job_id, seconds in begun.early.items():
            hand.gives_back(self.expected.jobs[job_id].entry, seconds)
        for one in begun.refused:
            hand.gives_back(self.expected.jobs[one.job.id].entry, one.delay)

    @precondition(lambda self: self._runs())
    @rule(pick=picks, lease=leases, tries=st.booleans())
    def take_over(self, pick: int, lease: float, tries: bool) -> None:
        """A worker is paused for longer than its leases, and another one claims what was its; both go on from there,
        the late one perhaps by taking a signal.
        """
        late, run = self._run(pick)
        self.pass_time(LEASE_S)
        other = next(name for name, hand in self.hands.items() if hand is not late)
        self.claim(other, TYPES, MOST_JOBS, lease, True, False)
        if tries:
            if self._may_be_told(run.job_id):
                self._signal(run.job_id, True)
            self._record(late, run, True)

    @precondition(lambda self: self._runs())
    @rule(pick=picks, steps=st.integers(1, 3), takes=st.booleans())
    def record(self, pick: int, steps: int, takes: bool) -> None:
        """Start or finish the next atoms of a run, which may take a signal; one that lost its job is refused, and
        changes nothing.
        """
        hand, run = self._run(pick)
        while steps and run.job_id in hand.runs and self._record(hand, run, takes):
            steps -= 1

    def _record(self, hand: Hand, run: Run, takes: bool) -> bool:
        atom = next((atom for atom in run.recorded.detail if atom.state != states.SUCCESS), None)
        if atom is None:
            return False
        signal = self.world.first_signal(run.job_id) if takes else None
        if signal is not None:
            self.world.take(run.recorded, atom.name, signal)
        if atom.state == states.RUNNING:
            run.recorded.finish(atom.name, f"done in epoch {run.epoch}")
        else:
            run.recorded.start(atom.name)
        now = run.recorded.task(atom.name)
        if self._allowed(hand, run, lambda: self.world.commit(run.recorded)):
            self.expected.recorded(run.job_id, atom.name, now.state, now.results)
            if signal is not None:
                same("the first signal", signal.data, self.expected.jobs[run.job_id].signals.pop(0))
        return True

    @precondition(lambda self: self._runs())
    @rule(pick=picks, state=st.sampled_from(ENDS), by_hand=st.booleans(), tells=st.booleans())
    def end(self, pick: int, state: JobState, by_hand: bool, tells: bool) -> None:
        """Settle a run for good, in its journal or without one, and tell the board, or be slow to."""
        self._end(*self._run(pick), state, by_hand, tells)

    def _end(self, hand: Hand, run: Run, state: JobState, by_hand: bool, tells: bool) -> None:
        again = (
            state is JobState.FAILED
            and run.recorded.job.attempt < run.recorded.job.policies.retrying.attempts
        )
        again_ms = self.world.clock.now_ms + AGAIN_MS if again else None
        settlement = Settlement(state=state, result=self._result(run, state), again_ms=again_ms)
        if self._settle(hand, run, settlement, by_hand):
            if again:
                hand.goes_back(run, AGAIN_MS / 1000)
            else:
                hand.is_done_with(run.job_id)
                hand.left.append(run.job_id)
                del hand.runs[run.job_id]
        if tells:
            self._tell(hand)

    @staticmethod
    def _result(run: Run, state: JobState) -> Any:
        return {PART: f"made in epoch {run.epoch}"} if state is JobState.SUCCEEDED else None

    @precondition(lambda self: self._runs())
    @rule(
        pick=picks,
        signal=st.booleans(),
        seconds=st.sampled_from([None, 5.0, 60.0]),
        by_hand=st.booleans(),
        tells=mostly,
    )
    def wait(self, pick: int, signal: bool, seconds: float | None, by_hand: bool, tells: bool) -> None:
        """Leave a run that waits for a time, for a signal, or for either."""
        hand, run = self._run(pick)
        signal = signal or seconds is None
        settlement = Settlement(
            state=JobState.SUSPENDED,
            awaits=SIGNAL if signal else None,
            parked=Parked.SIGNAL if seconds is None else None,
            available_ms=None if seconds is None else self.world.clock.now_ms + in_ms(seconds),
        )
        if self._settle(hand, run, settlement, by_hand):
            if seconds is not None:
                hand.goes_back(run, seconds)
            else:
                hand.is_done_with(run.job_id)
                del hand.runs[run.job_id]
            if signal:
                hand.left.append(run.job_id)
        if tells:
            self._tell(hand)

    @precondition(lambda self: any(self._is_held(run) for _, run in self._runs()))
    @rule(pick=picks, tells=mostly)
    def heed(self, pick: int, tells: bool) -> None:
        """Stop a run that a person suspended, unless it was resumed meanwhile."""
        held = [(hand, run) for hand, run in self._runs() if self._is_held(run)]
        hand, run = held[pick % len(held)]
        settlement = Settlement(state=JobState.SUSPENDED, parked=Parked.HELD, note=HELD_NOTE)
        if self._settle(hand, run, settlement, by_hand=False):
            hand.goes_back(run, 0.0)
        if tells:
            self._tell(hand)

    def _is_held(self, run: Run) -> bool:
        return run.job_id in self.expected.jobs and self.expected.jobs[run.job_id].held

    @precondition(lambda self: self._runs())
    @rule(pick=picks, by_hand=st.booleans(), delay=delays, tells=mostly)
    def suspend(self, pick: int, by_hand: bool, delay: float, tells: bool) -> None:
        """Leave a run for whoever claims the job next: one that can run it here, or after a delay."""
        hand, run = self._run(pick)
        note = "Waiting for a node that can run it." if delay else None
        state = JobState.WAITING if delay else JobState.SUSPENDED
        if self._settle(hand, run, Settlement(state=state, note=note), by_hand):
            hand.goes_back(run, delay)
        if tells:
            self._tell(hand)

    def _settle(self, hand: Hand, run: Run, settlement: Settlement, by_hand: bool) -> bool:
        work = self.world.hand_back if by_hand else self.world.settle
        if not self._allowed(hand, run, lambda: work(run.recorded, settlement)):
            return False
        job = self.expected.jobs[run.job_id]
        if (
            not by_hand and not job.atoms
        ):  # the journal writes all of a flow that is new with the first commit
            job.atoms = nothing_done()
        self.expected.settled(
            run.job_id,
            settlement.state,
            result=settlement.result,
            parked=settlement.parked,
            awaits=settlement.awaits,
            available_ms=settlement.available_ms,
        )
        return True

    @precondition(lambda self: self._hands("finished", "returned"))
    @rule(pick=picks)
    def tell_the_board(self, pick: int) -> None:
        self._tell(self._hand(pick, "finished", "returned"))

    def _tell(self, hand: Hand) -> None:
        hand.ended.tell(self.world.board)
        self.expected.tell(hand.name, hand.finished, hand.returned)
        self.world.wake(hand.left)
        self.expected.wake(hand.left)
        self.world.follow(hand.left)
        self.world.follow(hand.left)  # twice, as when another did it at the same time: it must do no harm
        self.expected.follow(hand.left)
        hand.finished, hand.returned, hand.left = [], [], []

    @precondition(lambda self: self._hands("claimed", "runs"))
    @rule(pick=picks, lease=leases, how=st.sampled_from(["board", "board, with others'", "keeper"]))
    def keep(self, pick: int, lease: float, how: str) -> None:
        """Keep the leases of what a worker has in hand, or thinks it has: on the board, or as its conductor does."""
        self._works()
        hand = self._hand(pick, "claimed", "runs")
        ids = sorted(self.expected.jobs) if "others" in how else sorted({*hand.claimed, *hand.runs})
        if how == "keeper":
            told = self.world.keeper(hand.name, ids, lease)
            lost = self.expected.keeper(hand.name, ids, in_ms(lease))
            same("the keeper's", told, {"kept": set(ids) - lost, "lost": lost})
        else:
            lost = self.world.keep(hand.name, ids, lease)
            same("told to be lost", lost, self.expected.board.keep(hand.name, ids, in_ms(lease)))

    @precondition(lambda self: self.expected.board.claims())
    @rule(owner=owners, consumes=st.booleans())
    def meddle(self, owner: str, consumes: bool) -> None:
        """Give back, or say to be done with, what others claim: that has to be left alone."""
        name = self.hands[owner].name
        others = [job_id for job_id, (other, _) in self.expected.board.claims().items() if other != name]
        board = self.world.board
        same("others' claims", board.consume(name, others) if consumes else board.release(name, others), 0)

    @precondition(lambda self: self._hands("claimed", "runs"))
    @rule(pick=picks, noticed=st.sampled_from(["at once", "never", "it was ended on purpose"]))
    def die(self, pick: int, noticed: str) -> None:
        """A worker dies with all it knows; its successor has another identity."""
        hand = self._hand(pick, "claimed", "runs")
        if noticed == "it was ended on purpose":
            suspended = self.world.hand_back_of(hand.name)
            same("suspended", suspended, self.expected.hand_back_of(hand.name))
        if noticed != "never":
            released = set(self.world.board.release_owner(hand.name))
            certain, possible = self.expected.board.release_owner(hand.name)
            if not certain <= released <= possible:
                raise Differs(f"released of {hand.name}: {released}, and should be {certain} to {possible}")
        self.generation += 1
        owner = hand.name.partition(":")[0]
        self.hands[owner] = Hand(f"{owner}:{self.generation}")

    # -- time and servers

    @precondition(lambda self: self.worked)
    @rule(seconds=st.sampled_from([0.001, 1.0, 1.0, LEASE_S / 4, LEASE_S / 2, LEASE_S, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.worked = False
        now_ms = self.world.clock.now_ms + in_ms(seconds)
        self.world.clock.set(now_ms)
        self.expected.now_ms = now_ms

    @precondition(lambda self: self.calm >= CALM)
    @rule(what=st.sampled_from(["it is lost", "it is saved", "it is restored"]))
    def the_boards_server(self, what: str) -> None:
        """Lose all that is on the board, or what came after an older snapshot of it."""
        self.calm, self.worked = 0, True
        if what == "it is saved":
            self.board_before = (self.world.snapshots.take(), self.expected.board.snapshot())
        elif what == "it is lost":
            self.world.board.clear()
            self.expected.board.restore({})
        elif self.board_before is not None:
            taken, expected = self.board_before
            self.world.snapshots.put_back(taken)
            self.expected.board.restore(expected)

    @precondition(lambda self: self.worked)
    @rule(leader=st.sampled_from(["first", "first", "first", "second"]))
    def reconcile(self, leader: str) -> None:
        self.worked = False
        done = self.world.reconcile(leader)
        same(
            "posted and withdrawn",
            None if done is None else (done.posted, done.withdrawn),
            self.expected.reconcile(leader),
        )

    # -- what has to hold

    @invariant()
    def the_store_is_as_expected(self) -> None:
        check_store(self.world, self.expected, [hand.name for hand in self.hands.values()])
        for job_id, job in self.expected.jobs.items():
            if job.epoch < self.epochs.get(job_id, 0):
                raise Differs(f"the epoch of {job_id} fell to {job.epoch}")
            self.epochs[job_id] = job.epoch

    @invariant()
    def the_board_is_as_expected(self) -> None:
        check_board(self.world, self.expected)

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:  # else it says what went wrong first
            self._work_off()
            check_histories(self.world)

    def _work_off(self) -> None:
        """Nothing was lost: once leases and delays are over, all that is open can be claimed, and nothing else.

        What was suspended is resumed, and what waits for a signal gets one.
        """
        for job in self.expected.open_jobs():
            self.let_go_of(job.id)
            if job.awaits is not None:
                self._signal(job.id, True)
        last = Hand("last:0")
        for _ in range(
            1 + len(self.expected.open_jobs())
        ):  # of a chain, and of those that need the semaphore, one
            self.pass_time(600)
            self.reconcile("first")
            self.reconcile("first")
            self._end_all(last)
            if not self.expected.open_jobs():
                break
        same("left on the board", self.world.board.count().waiting + self.world.board.count().claimed, 0)
        same("left in the store", sum(self.world.context.store.counts().values()), 0)

    def _end_all(self, last: Hand) -> None:
        wanted = {job.id for job in self.expected.open_jobs() if job.parked is not Parked.AFTER}
        found = self.world.claim(last.name, TYPES, 100, LEASE_S)
        self.expected.board.claim(last.name, TYPES, 100, in_ms(LEASE_S))
        same("claimable in the end", set(found), wanted)
        last.claimed = found
        self._begin(last)
        for run in list(last.runs.values()):
            result = self._result(run, JobState.SUCCEEDED)
            self._settle(last, run, Settlement(state=JobState.SUCCEEDED, result=result), by_hand=False)
            last.is_done_with(run.job_id)
            del last.runs[run.job_id]
        last.left.clear()  # who comes after them is left to the leader
        self._tell(last)

    def let_go_of(self, job_id: str) -> None:
        self._asks("resuming", job_id, self.world.resume, self.expected.resume, True)

    # -- steps

    def _works(self) -> None:
        self.calm += 1
        self.worked = True

    def _runs(self) -> list[tuple[Hand, Run]]:
        return [(hand, run) for hand in self.hands.values() for run in hand.runs.values()]

    def _run(self, pick: int) -> tuple[Hand, Run]:
        runs = self._runs()
        return runs[pick % len(runs)]

    def _hands(self, *what: str) -> list[Hand]:
        """Those that have something of this kind."""
        return [hand for hand in self.hands.values() if any(getattr(hand, one) for one in what)]

    def _hand(self, pick: int, *what: str) -> Hand:
        hands = self._hands(*what)
        return hands[pick % len(hands)]

    def _allowed(self, hand: Hand, run: Run, work: Any) -> bool:
        """Whether the store took it: from whoever began last, and from nobody else."""
        self._works()
        taken = True
        try:
            work()
        except LeaseLost:
            taken = False
        same(
            f"{hand.name} may write in epoch {run.epoch}",
            taken,
            self.expected.may_record(run.job_id, run.epoch),
        )
        if not taken:
            hand.goes_back(run, 0.0)
        return taken
