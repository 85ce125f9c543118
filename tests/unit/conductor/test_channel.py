"""The line between supervisor and worker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from jobrunner.conductor.channel import Channel

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    ends = Channel(one, patience=0.2), Channel(two)
    yield ends
    for end in ends:
        end.close()


def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    one, two = pair
    sent = [{"kind": "kept", "ids": [str(number)] * number} for number in range(1, 200)]
    thread = threading.Thread(target=lambda: [one.send(**message) for message in sent])
    thread.start()
    received = two.messages()
    assert [next(received) for _ in sent] == sent
    thread.join()


def test_whoever_reads_one_message_leaves_the_others_to_the_next(pair: Pair) -> None:
    """As a worker does that reads its setup, with a request to stop close behind it."""
    one, two = pair
    one.send("setup", a=1)
    one.send("stop")
    assert next(two.messages()) == {"kind": "setup", "a": 1}
    assert next(two.messages()) == {"kind": "stop"}


def test_the_other_end_is_gone(pair: Pair) -> None:
    one, two = pair
    one.send("stop")
    one.close()
    assert [message["kind"] for message in two.messages()] == ["stop"]
    assert not two.send("pulse")
    assert not two.send("pulse")


def test_an_end_that_does_not_read_holds_nobody_up_for_long(pair: Pair) -> None:
    one, _ = pair
    began = time.monotonic()
    while one.send("kept", ids=["x" * 1000] * 20):
        assert time.monotonic() - began < 10
    assert time.monotonic() - began < 2
    again = time.monotonic()
    assert one.broken
    assert not one.send("stop")  # nor may anything follow on what may have ended within a message
    assert time.monotonic() - again < 0.1


def test_descriptors_come_with_their_messages() -> None:
    one, two = socket.socketpair()
    sender, taker = Channel(one), Channel(two, takes_descriptors=True)
    pipes = [os.pipe() for _ in range(3)]
    for number, (reader, writer) in enumerate(pipes):
        os.write(writer, str(number).encode())
        assert sender.send("fork", number=number, descriptor=reader)
        sender.send("between", rest="x" * 5000)
        os.close(reader)
        os.close(writer)
    received = taker.messages()
    for number in range(3):
        assert next(received) == {"kind": "fork", "number": number}
        descriptor = taker.descriptors.popleft()
        assert os.read(descriptor, 10) == str(number).encode()
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
        assert next(received)["kind"] == "between"
    assert not taker.descriptors
    sender.close()
    taker.close()
