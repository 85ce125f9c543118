"""One server of each kind for a whole test run, however many processes pytest-xdist makes of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from tests.support.servers.process import Server
from tests.support.servers.templates import file_lock

MEMORY_BYTES = 4 << 30

AnyServer = TypeVar("AnyServer", bound=Server)


@dataclass(frozen=True, kw_only=True)
class ServerRun:
    """A run's directory, in which its processes find the servers that one of them started.

    The controller (the only process, without xdist) opens and closes it; workers are handed its fields.
    """

    directory: str
    controller: int

    @classmethod
    def open(cls) -> ServerRun:
        directory = tempfile.mkdtemp(prefix="jobrunner-tests-", dir=_roomy_memory())
        Path(directory).chmod(0o711)  # PostgreSQL runs as another user, and must get to its data
        return cls(directory=directory, controller=os.getpid())

    def handed_over(self) -> dict[str, str | int]:
        return asdict(self)

    def get(self, kind: type[AnyServer]) -> AnyServer:
        """The run's server of this kind, started by whoever asks first."""
        record = Path(self.directory, f"{kind.kind}.json")
        with file_lock(record.with_suffix(".lock")):
            if record.exists():
                server = kind.attach(json.loads(record.read_text()))
                assert isinstance(server, kind)
                return server
            server = kind(Path(self.directory, kind.kind), watch=self.controller)
            try:
                server.start()
            except BaseException:
                server.close()
                raise
            record.write_text(json.dumps(server.share()))
            return server

    def close(self, kinds: tuple[type[Server], ...]) -> None:
        """End every server of the run and remove its directory."""
        for kind in kinds:
            record = Path(self.directory, f"{kind.kind}.json")
            if record.exists():
                server = kind.attach(json.loads(record.read_text()))
                server.shared = False
                server.close()
        shutil.rmtree(self.directory)


def _roomy_memory() -> str | None:
    """Memory where there is enough of it: PostgreSQL makes a database there in a tenth of the time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < MEMORY_BYTES:
        return None
    return str(memory)
