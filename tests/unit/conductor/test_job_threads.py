"""Threads for jobs on a machine that has no more of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from jobrunner.conductor.turns.job_threads import JobThreads

DEADLINE_S = 10.0


@pytest.fixture
def threads() -> Iterator[JobThreads]:
    made = JobThreads(4)
    yield made
    made.shutdown(cancel_futures=True)


@pytest.fixture
def no_more(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


def test_jobs_wait_for_the_threads_that_there_are(
    threads: JobThreads, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    first = threads.submit(gate.wait, DEADLINE_S)
    request.getfixturevalue("no_more")
    second = threads.submit(lambda: "done")
    assert not second.done()
    gate.set()
    assert first.result(DEADLINE_S)
    assert second.result(DEADLINE_S) == "done"
    assert "jobs wait for the 1 threads" in caplog.text


def test_what_nobody_can_run_is_not_run_later(threads: JobThreads, no_more: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    with pytest.raises(RuntimeError, match="new thread"):
        threads.submit(done.append, "refused")
    no_more.undo()
    threads.submit(done.append, "taken").result(DEADLINE_S)
    assert done == ["taken"]
