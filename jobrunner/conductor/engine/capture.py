"""What tasks print and log is kept with their job.

A worker runs many jobs in threads of one process. So the process's streams and its root logger ask, by a context
variable, which atom is speaking; what nobody's atom says goes where it always went. A thread that a task starts by
itself has no atom, and speaks for the worker.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from jobrunner import times
from jobrunner.model import Job
from jobrunner.persistence.output import OutputChunk

CHUNK_BYTES = 32 * 1024
"""Consecutive output of one atom is kept in pieces of at most this size."""
PENDING_BYTES = 1024 * 1024
"""Output past the part that is always kept, that the database has not taken yet; beyond this the oldest goes."""


@dataclass(slots=True)
class _Part:
    """Consecutive output of one atom on one stream."""

    position: int
    atom: str | None
    stream: str
    at_ms: int
    texts: list[str]
    size: int = 0


class JobOutput:
    """The output of one job in one epoch, on its way to the journal.

    :param limit: bytes that are kept of it; the first half always, and of the rest the newest
    :param note: called when there is something to write
    """

    def __init__(self, job: Job, *, limit: int, note: Callable[[], None]) -> None:
        self._job = job
        self._head = limit // 2
        self._tail = limit - self._head
        self._pending_limit = min(PENDING_BYTES, self._tail)
        self._note = note
        self._lock = threading.Lock()
        self._first: list[_Part] = []
        self._later: deque[_Part] = deque()
        self._later_size = 0
        self._position = 0

    def write(self, atom: str | None, stream: str, text: str) -> None:
        """Add what an atom said on ``out``, ``err`` or ``log``; never waits for the database."""
        if not text:
            return
        with self._lock:
            for piece, size in _pieces(_storable(text)):
                self._add(atom, stream, piece, size)
        self._note()

    def _add(self, atom: str | None, stream: str, text: str, size: int) -> None:
        is_first = self._position < self._head
        parts = self._first if is_first else self._later
        last = parts[-1] if parts else None
        if last is None or (last.atom, last.stream) != (atom, stream) or last.size + size > CHUNK_BYTES:
            now_ms = times.now_ms()
            last = _Part(position=self._position, atom=atom, stream=stream, at_ms=now_ms, texts=[])
            parts.append(last)
        last.texts.append(text)
        last.size += size
        self._position += size
        if not is_first:
            self._later_size += size
            while self._later_size > self._pending_limit and len(self._later) > 1:
                self._later_size -= self._later.popleft().size

    def take(self) -> tuple[list[OutputChunk], tuple[int, int] | None]:
        """Hand over what is pending, and what to drop of what was written before: see ``output.drop_middle``."""
        with self._lock:
            parts = [*self._first, *self._later]
            self._first, self._later, self._later_size = [], deque(), 0
            over = self._position - (self._head + self._tail)
            trim = (self._head, self._position - self._tail) if over > 0 and parts else None
        return [self._chunk(part) for part in parts], trim

    def _chunk(self, part: _Part) -> OutputChunk:
        return OutputChunk(
            job_id=self._job.id,
            attempt=self._job.attempt,
            epoch=self._job.epoch,
            position=part.position,
            atom=part.atom,
            stream=part.stream,
            at_ms=part.at_ms,
            text="".join(part.texts),
        )


def _storable(text: str) -> str:
    """``text`` as every database takes it: no lone surrogates, and PostgreSQL has no NUL."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "\\0") if "\0" in text else text


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """``text`` in pieces of at most CHUNK_BYTES, with their sizes in bytes."""
    if len(text) * 4 <= CHUNK_BYTES:
        yield text, len(text) if text.isascii() else len(text.encode())
        return
    for start in range(0, len(text), CHUNK_BYTES // 4):
        piece = text[start : start + CHUNK_BYTES // 4]
        yield piece, len(piece.encode())


_speaker: contextvars.ContextVar[tuple[JobOutput, str] | None] = contextvars.ContextVar(
    "jobrunner_output", default=None
)


@contextlib.contextmanager
def speaking(output: JobOutput, atom: str) -> Iterator[None]:
    """Keep what is printed and logged in here as this atom's."""
    token = _speaker.set((output, atom))
    try:
        yield
    finally:
        _speaker.reset(token)


class _Stream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, original: TextIO, name: str) -> None:
        self._original = original
        self._name = name
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        speaker = _speaker.get()
        if speaker is None:
            return self._original.write(text)
        output, atom = speaker
        output.write(atom, self._name, text)
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def fileno(self) -> int:
        return self._original.fileno()

    def isatty(self) -> bool:
        return False

    def reconfigure(self, **settings: Any) -> None:
        """Programs do this to stdout when they begin; what is kept of a task needs none of it."""

    def writable(self) -> bool:
        return True


class _Bytes(io.BufferedIOBase):
    """A stream's ``buffer``, for tasks that print bytes. What is no UTF-8 is replaced, as is half a character."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self._stream.write(bytes(view).decode("utf-8", "replace"))
            return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


class _LogHandler(logging.Handler):
    """Keeps log records of atoms with their jobs."""

    def emit(self, record: logging.LogRecord) -> None:
        speaker = _speaker.get()
        if speaker is not None:
            try:
                output, atom = speaker
                output.write(atom, "log", self.format(record) + "\n")
            except Exception:  # noqa: BLE001 - logging's own rule for what goes wrong with a record
                self.handleError(record)


def nobody_speaks(record: logging.LogRecord) -> bool:
    """A filter for the worker's own log: records of atoms are their jobs'."""
    return _speaker.get() is None


def install() -> None:
    """Put the stand-ins in place, for the rest of the process's life."""
    sys.stdout = _Stream(sys.__stdout__ or sys.stdout, "out")
    sys.stderr = _Stream(sys.__stderr__ or sys.stderr, "err")
    handler = _LogHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
