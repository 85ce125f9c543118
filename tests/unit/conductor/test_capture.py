"""What tasks say, on its way to the journal: bounded, in order, in pieces that every database takes."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobrunner.conductor.engine import capture
from jobrunner.conductor.engine.capture import CHUNK_BYTES, JobOutput, speaking
from jobrunner.persistence.output import OutputChunk
from tests.unit.conductor.test_leases import job


class Kept:
    """What the database would hold: chunks, less the middle that is dropped."""

    def __init__(self, limit: int) -> None:
        self.notes = 0
        self.output = JobOutput(job(), limit=limit, note=self._note)
        self.chunks: list[OutputChunk] = []

    def _note(self) -> None:
        self.notes += 1

    def flush(self) -> None:
        chunks, trim = self.output.take()
        self.chunks += chunks
        if trim is not None:
            head, before = trim
            self.chunks = [c for c in self.chunks if c.position < head or c.position + c.size > before]

    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    def bytes(self) -> int:
        return sum(chunk.size for chunk in self.chunks)


def test_small_output_is_kept_whole_with_its_places() -> None:
    kept = Kept(10_000)
    for stream, text in (("out", "one\n"), ("out", "two\n"), ("err", "é\n"), ("out", "three\n")):
        kept.output.write("a", stream, text)
    kept.output.write("b", "out", "four\n")
    kept.flush()
    assert [(c.atom, c.stream, c.position, c.text) for c in kept.chunks] == [
        ("a", "out", 0, "one\ntwo\n"), ("a", "err", 8, "é\n"), ("a", "out", 11, "three\n"), ("b", "out", 17, "four\n")
    ]  # fmt: skip
    assert kept.notes == 5


@pytest.mark.parametrize("flush_every", [1, 7, 10_000])
def test_of_too_much_the_head_and_the_newest_are_kept(flush_every: int) -> None:
    limit = 200_000
    kept = Kept(limit)
    lines = [f"line {number:06d} {'x' * 80}\n" for number in range(10_000)]
    for number, line in enumerate(lines):
        kept.output.write("a", "out", line)
        if number % flush_every == 0:
            kept.flush()
    kept.flush()
    found = kept.text().splitlines(keepends=True)
    assert found[:1000] == lines[:1000]
    assert found[-500:] == lines[-500:]
    assert limit * 0.5 < kept.bytes() <= limit + 2 * CHUNK_BYTES


def test_memory_is_bounded_while_the_database_takes_nothing() -> None:
    """An outage: nothing is taken, and a task prints on."""
    kept = Kept(4 * 1024 * 1024)
    line = "x" * 99 + "\n"
    for _ in range(300_000):  # 30 MB
        kept.output.write("a", "out", line)
    chunks, _ = kept.output.take()
    assert sum(chunk.size for chunk in chunks) <= 2 * 1024 * 1024 + capture.PENDING_BYTES + CHUNK_BYTES


def test_a_huge_print_goes_in_pieces() -> None:
    kept = Kept(100 * 1024 * 1024)
    text = "漢" * 1_000_000
    kept.output.write("a", "out", text)
    kept.flush()
    assert max(chunk.size for chunk in kept.chunks) <= CHUNK_BYTES
    assert kept.text() == text
    ends = [chunk.position + chunk.size for chunk in kept.chunks]
    assert [chunk.position for chunk in kept.chunks[1:]] == ends[:-1]


@pytest.mark.parametrize(("said", "stored"), [("a\x00b", "a\\0b"), ("\ud800", "?"), ("é😀", "é😀")])
def test_what_databases_cannot_hold_is_shown(said: str, stored: str) -> None:
    kept = Kept(1000)
    kept.output.write("a", "out", said)
    kept.flush()
    assert kept.text() == stored
    assert kept.bytes() == len(stored.encode())


@contextmanager
def installed() -> Iterator[None]:
    """As in a worker; not a fixture, since pytest changes the streams between a fixture and its test."""
    streams, handlers = (sys.stdout, sys.stderr), list(logging.getLogger().handlers)
    logging.getLogger().handlers[:] = []  # a worker has no others; one that fails would speak for the job
    capture.install()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        logging.getLogger().handlers[:] = handlers


def test_threads_speak_for_their_own_jobs() -> None:
    kept = [Kept(100_000) for _ in range(4)]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        with speaking(kept[number].output, f"atom{number}"):
            start.wait()
            for line in range(200):
                print(f"{number} says {line}")
                logging.getLogger("x").warning("%d logs %d", number, line)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with installed():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, found in enumerate(kept):
        found.flush()
        said = "".join(c.text for c in found.chunks if c.stream == "out").splitlines()
        logged = "".join(c.text for c in found.chunks if c.stream == "log").splitlines()
        assert said == [f"{number} says {line}" for line in range(200)]
        assert logged == [f"WARNING x: {number} logs {line}" for line in range(200)]


def test_bytes_are_kept_as_the_text_that_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    kept = Kept(10_000)
    stream = capture._Stream(sys.__stdout__ or sys.stdout, "out")
    stream.reconfigure(line_buffering=True)
    with speaking(kept.output, "a"):
        assert stream.buffer.write("é\n".encode()) == 3
        assert stream.buffer.write(memoryview(b"\xff\n")) == 2
        stream.buffer.flush()
    kept.flush()
    assert kept.text() == "é\n\ufffd\n"
    assert capfd.readouterr().out == ""


def test_what_nobodys_atom_says_goes_where_it_always_went(capfd: pytest.CaptureFixture[str]) -> None:
    kept = Kept(1000)
    with installed():
        with speaking(kept.output, "a"):
            print("for the job")
        print("for the worker", flush=True)
    kept.flush()
    assert kept.text() == "for the job\n"
    assert capfd.readouterr().out == "for the worker\n"
