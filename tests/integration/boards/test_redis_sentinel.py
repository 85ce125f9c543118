"""The redis board behind a sentinel: whichever server is the primary now is the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobrunner.boards.board import Board
from jobrunner.errors import BoardUnavailable
from tests.support.boards import ALICE, LONG, PLAIN, entry, until
from tests.support.servers import RedisServer
from tests.support.servers.process import find_binary


class Sentinel(RedisServer):
    """A sentinel alone, whose word is enough; the setting ``watches`` is the primary's port."""

    def command(self) -> list[str]:
        return [find_binary("redis-server"), "sentinel.conf", "--sentinel"]

    def prepare(self) -> None:
        (self.directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor main 127.0.0.1 {self.settings['watches']} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n"
        )


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Callable[[RedisServer], str]]:
    """Starts a sentinel that watches over a primary with one replica; the URL by which a board asks it."""
    with ExitStack() as stack:

        def start(primary: RedisServer) -> str:
            sentinel = Sentinel(tmp_path / "sentinel", watches=primary.port)
            stack.callback(sentinel.close)
            sentinel.start()
            with sentinel.client() as client:
                until(lambda: len(client.sentinel_slaves("main")) == 1, within=30)
            return f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"

        yield start


def test_follows_the_primary(
    private_redis: Callable[..., RedisServer],
    sentinel: Callable[[RedisServer], str],
    open_at: Callable[[str], Board],
) -> None:
    primary = private_redis()
    replica = private_redis(replicaof=f"127.0.0.1 {primary.port}", repl_diskless_sync_delay=0)
    board = open_at(sentinel(primary))
    board.post([entry("before")])
    assert board.wait([PLAIN], timeout=20)
    with replica.client() as client:
        until(lambda: client.dbsize() > 0)
    primary.kill()
    with pytest.raises(BoardUnavailable):
        board.count()

    def is_back() -> bool:
        try:
            board.post([entry("after")])
            return board.wait([PLAIN], timeout=20)
        except BoardUnavailable:
            return False

    until(is_back, within=30)
    assert board.claim(ALICE, [PLAIN], limit=5, lease=LONG) == ["before", "after"]
    assert all(problem.severity == "warning" for problem in board.check())
