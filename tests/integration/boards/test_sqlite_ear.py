"""How a board in a SQLite file hears of work, and what that costs."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobrunner.boards import sql_ears
from jobrunner.boards.file_watch import FileWatch
from jobrunner.boards.sql import SqlBoard
from jobrunner.boards.sql_ears import SqliteEar
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import settings
from tests.support.boards import PLAIN, entry, until

WAIT_S = 10.0
real_readable = sql_ears.readable


class Boards:
    """A board that waits, one that posts, and how often the first one asked and looked."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        upgrade(self.database)
        self.ours, self.theirs = SqlBoard(url), SqlBoard(url)
        self.ear = self.ours._waiting._ear
        assert isinstance(self.ear, SqliteEar)
        self.asked = self.looked = 0
        self.heard: list[float] = []
        self._data_version, self._look = self.ear._data_version, self.ear._look
        self.ear._data_version = self._counted_version  # type: ignore[method-assign]
        self.ear._look = self._counted_look  # type: ignore[method-assign]

    def _counted_version(self) -> int:
        self.asked += 1
        return self._data_version()

    def _counted_look(self) -> set[str]:
        self.looked += 1
        return self._look()

    def wait(self, timeout: float) -> bool:
        return self.ours.wait([PLAIN], timeout=timeout)

    def settle(self) -> None:
        """Hear of all there was, and come to rest."""
        while self.wait(0.5):
            pass
        self.asked = self.looked = 0

    def post(self) -> None:
        self.theirs.post([entry()])

    def write_elsewhere(self, value: int) -> None:
        with self.database.write() as connection:
            connection.execute(settings.update().values(value=str(value)).where(settings.c.name == "x"))

    def close(self) -> None:
        for board in (self.ours, self.theirs):
            board.close()
        self.database.close()


@pytest.fixture
def boards(sqlite_url: str) -> Iterator[Boards]:
    found = Boards(sqlite_url)
    with found.database.write() as connection:
        connection.execute(settings.insert().values(name="x", value="0"))
    yield found
    found.close()


def test_a_file_watch_tells_once_that_the_file_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    watch = FileWatch(str(path))
    assert not watch.was_written()
    path.write_text("x")
    until(watch.was_written)
    assert not watch.was_written()
    watch.close()


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileWatch(str(tmp_path / "none"))


def test_while_nobody_writes_hardly_anything_is_asked(boards: Boards) -> None:
    boards.settle()
    assert not boards.wait(2.0)
    assert boards.asked < 2.0 / sql_ears.SQLITE_COMMIT_S + 4
    assert boards.looked == 0


def test_a_post_is_heard_though_the_kernel_alone_tells_of_it(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.settle()
    monkeypatch.setattr(sql_ears, "SQLITE_COMMIT_S", 60.0)  # no look that is not due to the kernel's word
    for _ in range(5):
        poster = threading.Thread(target=boards.post)
        poster.start()
        assert boards.wait(WAIT_S)
        poster.join()


def test_where_the_kernel_cannot_tell_the_file_is_asked_regularly(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(path: str) -> FileWatch:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(sql_ears, "FileWatch", no_more)
    boards.settle()
    poster = threading.Thread(target=boards.post)
    poster.start()
    assert boards.wait(WAIT_S)
    poster.join()
    boards.settle()
    assert not boards.wait(1.0)
    assert boards.asked > 10


def test_what_the_kernel_does_not_tell_is_found_a_moment_later(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileWatch, "was_written", lambda self: False)
    monkeypatch.setattr(sql_ears, "readable", lambda timeout, bell, *others: real_readable(timeout, bell))
    boards.settle()
    poster = threading.Thread(target=boards.post)
    poster.start()
    assert boards.wait(WAIT_S)
    poster.join()


def test_while_others_write_all_the_time_the_table_is_read_at_most_each_25_ms(boards: Boards) -> None:
    boards.settle()
    until(lambda: not boards.wait(sql_ears.SQLITE_BUSY_FOR_S))  # so that no news makes it look more often
    boards.looked = 0
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            boards.write_elsewhere(number)

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    assert not boards.wait(1.0)
    took = time.monotonic() - began
    stop.set()
    writer.join()
    assert 1 < boards.looked <= took / sql_ears.SQLITE_IDLE_S + 6
