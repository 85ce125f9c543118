"""The watch over jobs in processes of their own: when it ends them, and how."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.conductor.isolation.usage import Sample, Usage
from jobrunner.conductor.isolation.watch import Watch, Watched
from jobrunner.model import CancelMode, JobState
from jobrunner.policies import RunLimits

MIB = 1024 * 1024


def watched(deadline: float | None = None, heeded: bool = False, **limits: Any) -> Watched:
    return Watched(
        owner="alice/alone",
        job_id="job",
        guardian=1,
        epoch=1,
        attempt=1,
        limits=RunLimits(**{"isolation": "process", "grace": 10.0, **limits}),
        deadline=deadline,
        heeded=heeded,
    )


def sample(cpu: float = 0.0, memory: int = 50 * MIB) -> Sample:
    return Sample(cpu=cpu, memory=memory, processes=1)


class Killed:
    """What a watch did, with a clock that stands."""

    def __init__(self, *all_watched: Watched) -> None:
        self.signals: list[int] = []
        self.fenced: list[Watched] = []
        self.watch = Watch(lambda owner, number: self.signals.append(number), self.fenced.append)
        for one in all_watched:
            self.watch.add(one)

    def look(self, one: Watched, now: float, **seen: Any) -> list[int]:
        """The signals that it gets for what is seen of it now."""
        self.signals.clear()
        one.look(sample(**seen), now)
        one.check_time(now)
        self.watch._end(one, now)
        return list(self.signals)


def test_too_much_memory_is_killed_at_once() -> None:
    one = watched(memory=200 * MIB)
    killed = Killed(one)
    assert killed.look(one, 1.0, memory=200 * MIB) == []
    assert killed.look(one, 2.0, memory=200 * MIB + 1) == [9]
    assert one.verdict is not None
    assert one.verdict.state is JobState.FAILED
    assert one.verdict.error is not None
    assert one.verdict.error.kind == "MemoryLimit"


def test_whose_time_is_up_is_asked_first_and_killed_when_the_grace_is_over() -> None:
    one = watched(deadline=100.0)
    killed = Killed(one)
    assert killed.look(one, 100.0) == []
    assert killed.look(one, 100.5) == []  # it has to know first why its children end
    killed.watch.asked(one.owner, heeded=False)
    assert killed.look(one, 100.6) == [15]
    assert killed.look(one, 110.0) == []
    assert killed.look(one, 110.6) == [9]
    assert one.verdict is not None
    assert one.verdict.state is JobState.SUSPENDED  # to be undone by its next owner
    assert killed.fenced == []


def test_who_cannot_say_that_it_knows_is_not_waited_for() -> None:
    one = watched(deadline=100.0)
    killed = Killed(one)
    assert killed.look(one, 100.5) == []
    assert killed.look(one, 101.6) == [15]


def test_who_comes_to_an_atom_border_in_time_may_undo_for_as_long_as_it_takes() -> None:
    one = watched(deadline=100.0)
    killed = Killed(one)
    killed.look(one, 101.0)
    killed.watch.asked(one.owner, heeded=True)
    assert killed.look(one, 500.0) == []
    assert one.verdict is None


def test_who_undoes_from_the_start_has_no_deadline() -> None:
    one = watched(deadline=0.0, heeded=True)
    assert Killed(one).look(one, 500.0) == []


def test_a_cancel_without_undoing_ends_also_who_undoes() -> None:
    one = watched()
    killed = Killed(one)
    killed.watch.cancel(one.owner, CancelMode.REVERT)
    killed.watch.asked(one.owner, heeded=True)
    assert one.ends_at is None
    killed.watch.cancel(one.owner, CancelMode.KEEP)
    killed.watch.asked(one.owner, heeded=True)
    assert one.ends_at is not None
    assert one.verdict is not None
    assert one.verdict.state is JobState.CANCELLED
    before = one.ends_at
    killed.watch.cancel(one.owner, CancelMode.KEEP)  # told again every half second
    assert one.ends_at == before


def test_a_lost_lease_ends_it_and_settles_nothing() -> None:
    one = watched(heeded=True)
    killed = Killed(one)
    killed.watch.lost(one.owner)
    assert one.ends_at is not None
    assert killed.look(one, one.ends_at + 1) == [9]


def test_what_does_next_to_nothing_for_long_looks_dead() -> None:
    one = watched(dead_after=60.0, dead_below=1.0)
    killed = Killed(one)
    for second in range(60):
        assert killed.look(one, float(second), cpu=second * 0.009) == []
    assert killed.look(one, 61.0, cpu=0.55) == [15]
    assert killed.fenced == [one]
    assert one.verdict is not None
    assert one.verdict.state is JobState.DEAD
    assert killed.look(one, 72.0) == [9]


def test_what_works_now_and_then_does_not_look_dead() -> None:
    one = watched(dead_after=60.0, dead_below=1.0)
    killed = Killed(one)
    for second in range(600):
        assert killed.look(one, float(second), cpu=(second // 50) * 1.0) == []


def test_a_machine_that_stood_still_is_no_reason() -> None:
    one = watched(dead_after=60.0)
    killed = Killed(one)
    killed.look(one, 0.0)
    one.excuse(1000.0)
    assert killed.look(one, 1000.0) == []
    assert killed.look(one, 1030.0) == []


def test_processor_time_never_falls_and_its_peak_stays() -> None:
    usage = Usage.after({"cpu": 5.0, "peak": 10 * MIB, "attempt": 1})
    usage.note(Sample(cpu=2.0, memory=30 * MIB, processes=2), 10.0)
    usage.note(Sample(cpu=1.0, memory=20 * MIB, processes=1), 11.0)
    usage.note(Sample(cpu=3.0, memory=20 * MIB, processes=1), 13.0)
    assert usage.percent == pytest.approx(100.0)
    assert usage.worked == 4.0
    assert usage.to_json(attempt=1, ended=False) == {
        "attempt": 1,
        "cpu": 8.0,
        "memory": 20 * MIB,
        "peak": 30 * MIB,
    }
    assert usage.to_json(attempt=1, ended=True)["memory"] == 0


def test_what_the_kernel_says_at_the_end_counts_for_what_no_sample_saw() -> None:
    usage = Usage.after({"cpu": 5.0, "peak": 10 * MIB, "attempt": 1})
    usage.note(Sample(cpu=2.0, memory=30 * MIB, processes=2), 10.0)
    usage.end(cpu=2.5, peak=40 * MIB)
    assert usage.to_json(attempt=1, ended=True) == {"attempt": 1, "cpu": 7.5, "memory": 0, "peak": 40 * MIB}
    usage.end(cpu=0.0, peak=0)  # its guardian was killed, and could not say
    assert usage.to_json(attempt=1, ended=True)["cpu"] == 7.5


def test_new_processes_count_as_work_when_the_old_ones_took_their_time_along() -> None:
    one = watched(dead_after=60.0, dead_below=1.0)
    killed = Killed(one)
    for second in range(600):
        assert killed.look(one, float(second), cpu=100.0 if second < 10 else (second % 50) * 1.0) == []


def test_who_lost_its_lease_is_ended_though_it_undoes() -> None:
    one = watched()
    killed = Killed(one)
    killed.watch.cancel(one.owner, CancelMode.REVERT)
    killed.watch.asked(one.owner, heeded=True)
    killed.watch.lost(one.owner)
    killed.watch.asked(one.owner, heeded=True)
    assert one.ends_at is not None
    assert killed.look(one, one.ends_at) == [9]


def test_the_grace_goes_on_when_the_machine_has_stood_still() -> None:
    one = watched(deadline=100.0)
    killed = Killed(one)
    killed.look(one, 101.0)
    one.excuse(60.0)
    killed.watch.asked(one.owner, heeded=False)
    assert killed.look(one, 165.0) == [15]
    assert killed.look(one, 171.5) == [9]


def test_time_is_up_also_for_whom_nobody_can_look_at() -> None:
    one = watched(deadline=100.0)
    one.check_time(100.5)
    assert one.ends_at == 110.5


def test_it_is_looked_at_when_something_is_due() -> None:
    one = watched(deadline=100.5, memory=200 * MIB)
    one.look(sample(), 100.0)
    assert one.until_next(100.0) == pytest.approx(0.2)
    plain = watched(deadline=100.5)
    plain.look(sample(), 100.0)
    assert plain.until_next(100.0) == pytest.approx(0.5)
    plain.heeded = True
    assert plain.until_next(100.0) == pytest.approx(1.0)


def test_who_lives_though_it_was_killed_is_killed_again_but_not_at_once() -> None:
    one = watched(memory=200 * MIB)
    killed = Killed(one)
    assert killed.look(one, 1.0, memory=300 * MIB) == [9]
    assert killed.look(one, 1.5, memory=300 * MIB) == []
    assert killed.look(one, 2.0, memory=300 * MIB) == [9]
