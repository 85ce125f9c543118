"""TaskFlow's own tests of a job board, as TaskFlow ships them, on the drivers; every case applies.

Beside those that TaskFlow runs on all boards there are the two that it runs on its own Redis board only.
"""

from __future__ import annotations

from typing import Any

import pytest
from taskflow import exceptions, states, test
from taskflow.tests.unit.jobs.base import BoardTestMixin, connect_close
from taskflow.utils import persistence_utils

from jobrunner.boards.taskflow.jobboard import PostingBoard
from tests.support.boards import until
from tests.support.taskflow_boards import board_conf, fetch_board


class TaskFlowsSuite(BoardTestMixin):
    """Subclasses say on which server."""

    kind = ""

    @pytest.fixture(autouse=True)
    def _on_an_empty_board(self, request: pytest.FixtureRequest) -> None:
        self.conf = board_conf(request, self.kind)

    def setUp(self) -> None:
        super().setUp()
        self.client, self.board = self.create_board()

    def create_board(self, persistence: Any = None) -> tuple[PostingBoard, PostingBoard]:
        board = fetch_board(self.conf, persistence=persistence)
        self.addCleanup(board.close)
        return board, board

    def close_client(self, client: PostingBoard) -> None:
        client.close()

    def test_posting_claim_expiry(self) -> None:
        with connect_close(self.board):
            self.board.post("test", persistence_utils.temporary_log_book())
            (job,) = self.board.iterjobs(only_unclaimed=True)
            self.board.claim(job, self.board.name, expiry=0.5)
            assert self.board.find_owner(job) == self.board.name
            assert job.state == states.CLAIMED
            until(lambda: job.state == states.UNCLAIMED, within=5)
            assert list(self.board.iterjobs(only_unclaimed=True)) == [job]

    def test_posting_claim_same_owner(self) -> None:
        with connect_close(self.board):
            self.board.post("test", persistence_utils.temporary_log_book())
            (job,) = self.board.iterjobs(only_unclaimed=True)
            self.board.claim(job, self.board.name)
            (again,) = self.board.iterjobs()
            with pytest.raises(exceptions.UnclaimableJob):
                self.board.claim(again, self.board.name)
            assert list(self.board.iterjobs(only_unclaimed=True)) == []


@pytest.mark.redis
class TestOnRedis(TaskFlowsSuite, test.TestCase):
    kind = "redis"


class TestOnSqlite(TaskFlowsSuite, test.TestCase):
    kind = "sqlite"


@pytest.mark.mariadb
class TestOnMariaDb(TaskFlowsSuite, test.TestCase):
    kind = "mariadb"


@pytest.mark.postgresql
class TestOnPostgres(TaskFlowsSuite, test.TestCase):
    kind = "postgres"
