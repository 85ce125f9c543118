"""When dead workers are started again, and how outages and broken plugins are told."""

from __future__ import annotations

import logging

import pytest

from jobrunner.conductor.broken_plugins import CHARACTERS, TOLD, BrokenPlugins, in_words
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.supervisor.process import how_it_ended
from jobrunner.conductor.supervisor.restarts import BACKOFF_MAX_S, STEADY_S, Restarts
from jobrunner.errors import BoardUnavailable
from jobrunner.plugins.registry import PluginProblem


def test_a_first_death_costs_no_pause_and_later_ones_more_and_more() -> None:
    restarts = Restarts()
    pauses = []
    now = 0.0
    for _ in range(10):
        restarts.died(0, now=now, lived=1.0)
        pauses.append(restarts.until_next(now))
        now += pauses[-1] or 0.0
        assert restarts.take_due(now + 1e-6) == [0]
    assert pauses[0] == 0.0
    assert pauses[1:5] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert pauses[-1] == BACKOFF_MAX_S
    assert sum(pause or 0.0 for pause in pauses[:5]) < 4  # a job that dies five times must not take minutes


def test_a_worker_that_lived_for_long_starts_afresh() -> None:
    restarts = Restarts()
    for lived in (1.0, 1.0, 1.0, STEADY_S + 1):
        restarts.died(0, now=0.0, lived=lived)
    assert restarts.until_next(0.0) == 0.0


def test_slots_do_not_share_their_pauses() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.died(0, now=0.0, lived=0.0)
    restarts.died(1, now=0.0, lived=0.0)
    assert restarts.take_due(0.0) == [1]
    assert len(restarts) == 1
    restarts.clear()
    assert restarts.until_next(0.0) is None


def test_an_outage_is_told_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(logging.getLogger("x"), "keeping leases")
    for _ in range(2):
        for _ in range(3):
            outage.goes_on(BoardUnavailable("It is away."))
        for _ in range(3):
            outage.is_over()
    said = [record.message for record in caplog.records]
    assert (
        said
        == ["keeping leases: It is away. It is tried again until it works.", "keeping leases: works again"]
        * 2
    )


def test_exit_statuses_in_words() -> None:
    assert [how_it_ended(code) for code in (0, 3, -9, -200)] == [
        "exit code 0", "exit code 3", "killed by SIGKILL", "killed by signal 200"
    ]  # fmt: skip


def test_a_broken_plugin_is_told_once_and_again_after_it_was_mended(caplog: pytest.LogCaptureFixture) -> None:
    broken = BrokenPlugins()
    for problems in (["a: SyntaxError"], ["a: SyntaxError"], ["a: SyntaxError", "b: no."], [], ["b: no."]):
        broken.tell(problems)
    told = [record.message.partition(". What")[0] for record in caplog.records]
    assert told == [f"a plugin has a problem: {which}" for which in ("a: SyntaxError", "b: no", "b: no")]


def test_what_a_worker_tells_of_broken_plugins_is_bounded() -> None:
    words = in_words([PluginProblem(source="x", where="flows.x", message="m" * 10_000)] * 1000)
    assert len(words) == TOLD
    assert all(len(problem) == CHARACTERS for problem in words)
