"""What people do with jobs that come after others, and with jobsets; on top of all that the state machine does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, multiple, precondition, rule

from jobrunner.model import After, CancelMode, JobState, Posting, Priority, When
from tests.conformance.model.expected import PART, ExpectedJob
from tests.conformance.model.hands import Hand, Run, same
from tests.conformance.model.machine import (
    CALM,
    ENDS,
    MOST_JOBS,
    BoardAndStore,
    mostly,
    picks,
    policies_of,
)
from tests.conformance.model.world import TYPES

OTHER, ANOTHER = -1, -2
"""In the place of earlier postings: jobs that are there already."""
Shape = Sequence[Sequence[int]]
ONE: Shape = [[OTHER]]
BOTH: Shape = [[OTHER, ANOTHER]]
CHAIN: Shape = [[], [0]]
LONG_CHAIN: Shape = [[], [0], [1]]
FORK: Shape = [[], [0], [0]]
JOIN: Shape = [[], [], [0, 1]]
BRANCH: Shape = [[OTHER], [0]]
JOINED: Shape = [[], [0, OTHER]]
SHAPES = [ONE, ONE, BOTH, CHAIN, LONG_CHAIN, FORK, JOIN, BRANCH, JOINED]
"""Which postings come after which, by their places."""

whens = st.tuples(*[st.sampled_from([When.SUCCESS, When.SUCCESS, When.FAILURE, When.ALWAYS])] * 3)


class LinkedJobs(BoardAndStore):
    """The state machine of single jobs, and people who link them.

    What holds in the end besides: whatever came after others has ended as well, though nobody but the leader followed
    up on the last ends.
    """

    jobs = BoardAndStore.jobs

    @initialize(target=jobs, shape=st.sampled_from([None, CHAIN, LONG_CHAIN, FORK, JOIN]), whens=whens)
    def open_with_a_set(self, shape: Shape | None, whens: Sequence[When]) -> Any:
        if shape is None:
            return multiple()
        return self._post_linked(shape, whens, (), TYPES[0], 0, 1, False, True, True, True)

    @precondition(lambda self: 0 < len(self.expected.jobs) < MOST_JOBS)
    @rule(
        target=jobs,
        shape=st.sampled_from(SHAPES),
        whens=whens,
        pick=picks,
        type_=st.sampled_from(TYPES),
        delay=st.sampled_from([0, 0, 0, 60]),
        attempts=st.sampled_from([1, 1, 2]),
        needs=st.sampled_from([False, False, False, True]),
        refers=st.booleans(),
        as_set=st.booleans(),
        seen=mostly,
    )
    def post_linked(
        self,
        shape: Shape,
        whens: Sequence[When],
        pick: int,
        type_: str,
        delay: int,
        attempts: int,
        needs: bool,
        refers: bool,
        as_set: bool,
        seen: bool,
    ) -> Any:
        """Post jobs that come after one another, or after others, which may have ended long ago."""
        there = list(self.expected.jobs)
        others = [there[pick % len(there)], there[(pick + 1) % len(there)]]
        return self._post_linked(
            shape, whens, others, type_, delay * 1000, attempts, needs, refers, as_set, seen
        )

    def _post_linked(
        self,
        shape: Shape,
        whens: Sequence[When],
        others: Sequence[str],
        type_: str,
        delay_ms: int,
        attempts: int,
        needs: bool,
        refers: bool,
        as_set: bool,
        seen: bool,
    ) -> Any:
        now_ms = self.world.clock.now_ms
        conditions = iter(whens)
        postings = []
        for first in shape:
            named: list[str | int] = list(
                dict.fromkeys(place if place >= 0 else others[-1 - place] for place in first)
            )
            value = {"value": {"$result": named[0], "path": PART}} if refers and named else {}
            postings.append(
                Posting(
                    type=type_,
                    priority=Priority.NORMAL,
                    available_ms=now_ms + delay_ms if delay_ms else None,
                    policies=policies_of(attempts, needs),
                    after=tuple(After(job=job, when=next(conditions)) for job in named),
                    parameters=value,
                )
            )
        set_id = None
        if as_set:
            set_id, posted = self.world.post_set(postings, seen=seen)
        else:
            posted = self.world.post_linked(postings, seen=seen)
        made = [
            ExpectedJob(
                one.job_id, type_, Priority.NORMAL, now_ms, now_ms + delay_ms, JobState.WAITING,
                attempts=attempts, needs=needs, jobset_id=set_id,
            )
            for one in posted
        ]  # fmt: skip
        states = self.expected.posted_linked(made, postings, seen=seen)
        same("the states in which jobs begin", [one.state for one in posted], states)
        return multiple(*(job.id for job in made))

    @precondition(lambda self: self.calm >= CALM and self.expected.sets())
    @rule(pick=picks, mode=st.sampled_from(CancelMode), seen=mostly)
    def cancel_set(self, pick: int, mode: CancelMode, seen: bool) -> None:
        self.calm, self.worked = 0, True
        sets = self.expected.sets()
        set_id = sets[pick % len(sets)]
        cancelled = self.world.cancel_set(set_id, mode, seen=seen)
        self.expected.cancel_set(set_id, mode, seen=seen)
        same("the set", (cancelled.counts, cancelled.skipped), self.expected.counts(set_id))

    @precondition(lambda self: self.calm >= CALM and self.expected.sets(unsuccessful=True))
    @rule(pick=picks, seen=mostly)
    def retry_set(self, pick: int, seen: bool) -> None:
        self.calm, self.worked = 0, True
        sets = self.expected.sets(unsuccessful=True)
        set_id = sets[pick % len(sets)]
        outcome = self.world.retry_set(set_id, seen=seen)
        same("retried", outcome.retried, self.expected.retry_set(set_id, seen=seen))
        same("refused", outcome.refused, {})
        found = (outcome.jobset.counts, outcome.jobset.skipped)
        same("the set", found, self.expected.counts(set_id))

    @precondition(lambda self: self._runs_before_others())
    @rule(pick=picks, state=st.sampled_from(ENDS), by_hand=st.booleans(), tells=mostly)
    def end_before_others(self, pick: int, state: JobState, by_hand: bool, tells: bool) -> None:
        """Settle a run for which others wait; chance alone would not do that often."""
        runs = self._runs_before_others()
        self._end(*runs[pick % len(runs)], state, by_hand, tells)

    def _runs_before_others(self) -> list[tuple[Hand, Run]]:
        firsts = {first for job in self.expected.open_jobs() for first in job.after}
        return [(hand, run) for hand, run in self._runs() if run.job_id in firsts]

    @precondition(lambda self: self.calm >= CALM and any(job.after for job in self.expected.jobs.values()))
    @rule(pick=picks, what=st.sampled_from(["hold", "cancel", "delete", "retry"]), seen=mostly)
    def see_to_linked(self, pick: int, what: str, seen: bool) -> None:
        """Suspend or cancel one that comes after others, delete one before it, or retry it; if there is such a one."""
        jobs = list(self.expected.jobs.values())
        linked = [job for job in jobs if job.after]
        chosen = {
            "hold": [job.id for job in linked if job.state is JobState.BLOCKED],
            "cancel": [job.id for job in linked if job.state is JobState.BLOCKED],
            "delete": [job.id for job in jobs if self._was_needed(job)],
            "retry": [job.id for job in linked if job.ended_badly],
        }[what]
        if chosen:
            job_id = chosen[pick % len(chosen)]
            if what == "cancel":
                self.cancel(job_id, CancelMode.KEEP, seen)
            else:
                {"hold": self.hold, "delete": self.delete, "retry": self.retry}[what](job_id, seen)

    def _was_needed(self, job: ExpectedJob) -> bool:
        """Whether others came after it, and have all ended."""
        others = self.expected.after(job.id)
        return bool(others) and not any(other.is_open for other in others)
