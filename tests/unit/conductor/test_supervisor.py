"""What the supervisor reads of its workers."""

from __future__ import annotations

import socket

import pytest

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.supervisor.process import WorkerProcess
from jobrunner.conductor.supervisor.supervisor import Supervisor
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable
from jobrunner.persistence.server.database import Database


def no_board() -> None:
    raise BoardUnavailable


def test_the_line_of_a_worker_that_could_not_be_forked_is_read_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both may be told by one look: that there was no room for it, and that its line has ended."""
    database = Database("sqlite://")
    supervisor = Supervisor(Config(), database, open_board=no_board, once=False)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair()
    worker = WorkerProcess(slot=0, owner="a:1:b/0.c", channel=Channel(ours))
    supervisor._crew.join(worker, supervisor._crew.setup(0))
    theirs.close()
    supervisor._was_not_started(worker, "no room")
    supervisor._read(worker)
    assert "a worker could not be forked, which is tried again: no room" in caplog.text
    database.close()
