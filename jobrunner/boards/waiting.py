"""How threads wait for work: one of them listens to the server, and whatever it hears is news for all.

Each thread remembers up to which news it has heard, so that news from between two waits end the second at once, and
many news end only one. The thread that listens does so through an :class:`Ear`, the driver's part of this.
"""

from __future__ import annotations

import abc
import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Collection, Iterable, Mapping

from jobrunner.boards.board import News
from jobrunner.errors import BoardUnavailable
from jobrunner.model import JobClass

CLOSE_PATIENCE_S = 10.0


class Ear(abc.ABC):
    """Hears for which classes there may be work. Used by one thread at a time.

    ``spread`` is by how many seconds one ear may hear later than another of the same job.
    """

    spread = 0.0

    @abc.abstractmethod
    def listen(self, timeout: float, bell: int) -> Collection[str]:
        """Block until something is heard, or ``timeout`` seconds passed, or the file descriptor ``bell`` is readable.

        Returns class keys. The first call, and the first one after a failure, tells of every class of which jobs wait,
        since something may have been missed. Raises BoardUnavailable in bounded time.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections; the next call of ``listen`` makes them anew."""

    @abc.abstractmethod
    def forget(self) -> None:
        """Let go of connections that belong to the process that this one was forked from, without touching them."""


class Bell:
    """A file descriptor that becomes readable when somebody rings, so that it ends a wait for sockets."""

    def __init__(self) -> None:
        self.fileno, self._write_end = os.pipe()
        os.set_blocking(self.fileno, False)
        os.set_blocking(self._write_end, False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe is readable already
            os.write(self._write_end, b"!")

    def hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fileno, 4096):
                pass

    def close(self) -> None:
        os.close(self.fileno)
        os.close(self._write_end)


class Waiting:
    """The waits of one board object."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._bell: Bell | None = None
        self._closed = False
        self._start()

    def wait(self, wanted: Collection[str], timeout: float) -> set[str]:
        """Block until there are news of wanted classes, or of some that are new, or ``timeout`` seconds passed."""
        if self._closed:
            raise BoardUnavailable("The job board was closed.", hint="Open it anew.")
        if os.getpid() != self._pid:
            self._start_after_fork()
        wanted = frozenset(wanted)
        deadline = time.monotonic() + timeout
        listened = False
        with self._condition:
            while True:
                if news := self._news(wanted):
                    return news
                if self._was_woken() or self._closed:
                    return set()
                left = max(deadline - time.monotonic(), 0.0)
                if listened and not left:
                    return set()
                if self._listening:
                    self._condition.wait(left)
                else:
                    self._listen(left)
                listened = True

    def wake(self) -> None:
        """End all waits; a thread that is between two waits finds its next one ended."""
        with self._condition:
            self._wakes += 1
            if self._listening:  # else whoever waits next finds it before it listens
                self._ring()
            self._condition.notify_all()

    def know(self, classes: Iterable[str]) -> None:
        """Note that whoever waits knows these classes: news of them are news only to those who want them."""
        with self._condition:
            for key in classes:
                self._first_told.setdefault(key, 0)

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._ring()
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._listening, CLOSE_PATIENCE_S)
            if self._bell is not None:
                self._bell.close()
                self._bell = None
            self._ear.close()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._mine = threading.local()
        self._first_told: dict[str, int] = {}
        self._last_told: dict[str, int] = {}
        self._told = 0
        self._wakes = 0
        self._listening = False

    def _start_after_fork(self) -> None:
        self._ear.forget()
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._start()

    def _news(self, wanted: frozenset[str]) -> set[str]:
        heard: int = getattr(self._mine, "heard", 0)
        self._mine.heard = self._told
        if heard == self._told:
            return set()
        return {
            key
            for key, told in self._last_told.items()
            if told > heard and (key in wanted or self._first_told[key] > heard)
        }

    def _was_woken(self) -> bool:
        woken: int = getattr(self._mine, "woken", 0)
        self._mine.woken = self._wakes
        return woken != self._wakes

    def _listen(self, timeout: float) -> None:
        if self._bell is None:
            self._bell = Bell()
        bell = self._bell
        self._listening = True
        self._condition.release()
        try:
            heard = self._ear.listen(timeout, bell.fileno)
        finally:
            self._condition.acquire()
            self._listening = False
            self._condition.notify_all()
        bell.hush()
        for key in heard:
            self._told += 1
            self._first_told.setdefault(key, self._told)
            self._last_told[key] = self._told

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.ring()


def news_of(asked: Mapping[str, JobClass], heard: Collection[str]) -> News:
    """What a board says that has heard of these keys, of which classes were asked for by these."""
    classes = frozenset(asked[key] for key in heard if key in asked)
    return News(classes, new_classes=len(classes) < len(heard))


def take_news(news: str, heard: set[str], due_at: float) -> float:
    """Note one message of a board: ``+`` and a class that has work, or ``~`` and the milliseconds until a job is due.

    Returns when the next job is due, by the monotonic clock, as far as is known now. Other messages count as nothing.
    """
    if news.startswith("+"):
        heard.add(news[1:])
    elif news.startswith("~") and news[1:].isdecimal():
        return min(due_at, time.monotonic() + int(news[1:]) / 1000)
    return due_at


def readable(timeout: float, *descriptors: int) -> set[int]:
    """Block until one of the file descriptors can be read or is broken, at most ``timeout`` seconds; which ones."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    milliseconds = min(math.ceil(max(timeout, 0.0) * 1000), 2**31 - 1)
    return {descriptor for descriptor, _ in poll.poll(milliseconds)}
