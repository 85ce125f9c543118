"""What follows when a job expires that nobody could start: those that come after it are decided at once."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.conductor.reconciling.reconciler import Reconciler
from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.model import After, JobState, When
from jobrunner.persistence.ownership import overdue
from tests.support.conductors import Cluster
from tests.support.journals import now_ms


class Line:
    """A job that has expired, with one that wants its success, one after that, and one that sees to failures."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.late = self.post(node="nowhere", expires_ms=now_ms() - 1)
        self.then = self.post(after=(After(job=self.late),))
        self.last = self.post(after=(After(job=self.then),))
        self.otherwise = self.post(after=(After(job=self.late, when=When.FAILURE),))

    def post(self, **posting: Any) -> str:
        return self.cluster.post("steps", posting=posting)

    @property
    def states(self) -> list[JobState]:
        return [
            self.cluster.job(job_id).state for job_id in (self.late, self.then, self.last, self.otherwise)
        ]

    @property
    def on_board(self) -> set[str]:
        return self.cluster.context.board.known([self.late, self.then, self.last, self.otherwise])

    def require_decided(self) -> None:
        skipped = JobState.CANCELLED
        assert self.states == [JobState.EXPIRED, skipped, skipped, JobState.WAITING]
        assert self.on_board == {self.otherwise}


def leader(cluster: Cluster, holder: str = "tester") -> Reconciler:
    return Reconciler(cluster.context.database, cluster.context.board, holder=holder, lease=0.05)


def test_they_are_decided_by_the_look_that_finds_it(anywhere: Cluster) -> None:
    line = Line(anywhere)
    assert leader(anywhere).end_overdue() == 1
    line.require_decided()


def test_they_are_decided_by_the_next_leader_if_that_dies_in_between(anywhere: Cluster) -> None:
    line = Line(anywhere)
    assert overdue.end_overdue(anywhere.context.database).expired == [line.late]
    assert line.states == [JobState.EXPIRED, *[JobState.BLOCKED] * 3]
    assert leader(anywhere).run_if_leader() is not None
    line.require_decided()


@pytest.mark.parametrize("away", [BoardUnavailable, StoreUnavailable])
def test_they_are_decided_though_a_server_is_away_in_between(
    embedded: Cluster, monkeypatch: pytest.MonkeyPatch, away: type[Exception]
) -> None:
    """Also by a leader whose next round would be far away."""
    line = Line(embedded)
    what = "follow" if away is StoreUnavailable else "BOARD"
    found = leader(embedded)
    found._not_before = float("inf")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise away()

    with monkeypatch.context() as patched:
        if what == "BOARD":
            patched.setattr(embedded.context.board, "withdraw", fail)
        else:
            patched.setattr("jobrunner.conductor.reconciling.reconciler.follow", fail)
        with pytest.raises(away):
            found.run_if_leader()
    assert found.run_if_leader() is not None
    line.require_decided()
