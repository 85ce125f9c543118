"""The line between the supervisor and a worker: JSON, one message a line, over a pair of sockets.

Worker to supervisor: ``ready`` (job types, and what is wrong with plugins, once and after a reload), ``pulse`` (still
alive; running jobs, and which of them were asked to stop, and heeded it), ``claimed``, ``done``, ``isolate`` (a job
that should run in a process of its own), and from such a process ``begun`` (the job, as it began it).
Supervisor to worker: ``setup`` (first), ``kept`` (ids, and until when by boottime), ``lost``, ``cancel``, ``stop``,
``reload``, ``give_way`` (how reluctantly to claim); to one that is alone ``take`` (its job); to the one that claimed
that, ``returned`` (the job was not taken over) or ``left`` (it was, and is over). When either end is gone the other
reads the end of the stream.

Supervisor to fork server: ``setup`` (first), ``fork`` (with the worker's end of its line), ``kill``, ``end``.
Fork server to supervisor: ``ready``, ``ended`` (how a worker did), ``not_started``, ``alive`` (``kill`` was heeded).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]
ORPHANED = 70
"""Exit code of a worker whose supervisor is gone."""
READ_BYTES = 65536


class Channel:
    """One end of the line. Sending is safe from several threads; one thread reads.

    :param patience: seconds for which sending may block; after that the line counts as broken. For the supervisor, whom
        a worker that does not read must not hold up.
    :param takes_descriptors: whether file descriptors may come with messages; they gather in ``descriptors``, in order
    """

    def __init__(
        self, end: socket.socket, *, patience: float | None = None, takes_descriptors: bool = False
    ) -> None:
        self._socket = end
        self._takes_descriptors = takes_descriptors
        self.descriptors: deque[int] = deque()
        self._lock = threading.Lock()
        self._rest = b""
        self._received: deque[Message] = deque()
        self.broken = False
        if patience is not None:
            seconds = int(patience)
            limit = struct.pack("ll", seconds, int((patience - seconds) * 1e6))
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, *, descriptor: int | None = None, **content: Any) -> bool:
        """Send a message, with a copy of a file descriptor if one is given; False if nobody is there to read it."""
        data = json.dumps({"kind": kind, **content}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self.broken:
                return False
            try:
                sent = 0 if descriptor is None else socket.send_fds(self._socket, [data], [descriptor])
                self._socket.sendall(data[sent:])
            except OSError:  # the other end is gone, or stopped reading: what it got may end within a message
                self.broken = True
                return False
        return True

    def receive(self) -> list[Message] | None:
        """Block for data; the messages that are complete by now, or None at the end of the stream."""
        try:
            data = self._read()
        except ConnectionError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def _read(self) -> bytes:
        if not self._takes_descriptors:
            return self._socket.recv(READ_BYTES)
        # One at a time: the kernel lets nobody read past a message with a descriptor.
        data, descriptors, _, _ = socket.recv_fds(self._socket, READ_BYTES, 1)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self.descriptors.append(descriptor)
        return data

    def messages(self) -> Iterator[Message]:
        """All messages until the end of the stream; whoever leaves off leaves the rest to the next who asks."""
        while True:
            while self._received:
                yield self._received.popleft()
            received = self.receive()
            if received is None:
                return
            self._received.extend(received)

    def close(self) -> None:
        self._socket.close()
