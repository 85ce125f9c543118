"""The fork server, as its supervisor sees it: what workers are made by, and what tells how they ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from jobrunner.conductor.channel import Channel, Message
from jobrunner.conductor.clock import boottime

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from jobrunner.fork_server import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)
"""What its interpreter runs: it finds modules exactly where the supervisor does, whatever its directory."""
SEND_PATIENCE_S = 0.5
START_S = 60.0
"""Its imports may take so long, on a machine that has other things to do."""
ANSWER_S = 5.0
"""After that it heeds at once; if it does not for so long, it hangs."""
END_S = 2.0


class ForkServer:
    """One conductor's fork server: started when it is first needed, and again after it died.

    To be used by the thread that supervises, and by a process that lives for as long as its workers: they end with it.

    :param config: the configuration as JSON, whose drivers it imports
    """

    def __init__(self, config: Mapping[str, Any], *, node: str) -> None:
        self._config = config
        self._name = f"jobrunner:{node}"
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._is_ready = False
        self._is_gone = False
        self._asked: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is one; it may have died, which :meth:`receive` tells."""
        return self._process is not None

    def start(self) -> None:
        """Start it. Raises OSError if no process can be made."""
        ours, theirs = socket.socketpair()
        arguments = [str(theirs.fileno()), str(os.getpid()), json.dumps(sys.path), self._name]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C does not reach it
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours, patience=SEND_PATIENCE_S)
        self._is_ready, self._is_gone, self._asked = False, False, None
        self._channel.send("setup", config=self._config)

    def fileno(self) -> int:
        """Readable when there is something to :meth:`receive`."""
        assert self._channel is not None
        return self._channel.fileno()

    def fork(
        self,
        owner: str,
        name: str,
        line: socket.socket,
        *,
        alone: bool = False,
        account: Mapping[str, Any] | None = None,
    ) -> None:
        """Have a worker forked, with this end of its line; that it ended, or could not be forked, is received.

        :param alone: what its tasks start ends with it
        :param account: as whom it runs, if not as the conductor
        """
        assert self._channel is not None
        self._channel.send(
            "fork", descriptor=line.fileno(), owner=owner, name=name, alone=alone, account=account
        )

    def kill(self, owner: str, number: int = signal.SIGKILL) -> None:
        """Have a worker signalled, with its session if it is alone; that it ended is received. For any thread."""
        channel = self._channel
        if channel is not None:
            channel.send("kill", owner=owner, signal=number)
            self._asked = self._asked or boottime()

    def receive(self) -> list[Message] | None:
        """What it says: how workers ended; None if it has ended itself, and its workers with it."""
        assert self._channel is not None
        received = self._channel.receive()
        self._asked = None
        self._is_ready, self._is_gone = received is not None, received is None
        return received

    def hangs(self, now: float) -> bool:
        """Whether it does not heed any more, so that nothing can be started or killed."""
        if self._channel is None:
            return False
        patience = ANSWER_S if self._is_ready else START_S
        return self._channel.broken or (self._asked is not None and now - self._asked > patience)

    def excuse(self, now: float) -> None:
        """It could not have answered until now: the machine stood still."""
        if self._asked is not None:
            self._asked = now

    def end(self, *, at_once: bool = False) -> int:
        """End it with all its workers, however they are; its exit code. To be started again, if need be.

        :param at_once: do not even ask it; the kernel ends the workers
        """
        if self._process is None or self._channel is None:
            return 0
        process, self._process = self._process, None
        if at_once or not (self._is_ready or self._is_gone):
            process.kill()
        else:
            self._channel.send("end")
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._channel.close()
        self._channel = None
        return code
