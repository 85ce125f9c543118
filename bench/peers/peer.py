"""What a peer has to offer to be measured.

A job's one atom stamps (:mod:`bench.stamps`) to the path that it is given; that is all its work.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from importlib import metadata
from typing import ClassVar

REDIS_URL = "BENCH_REDIS_URL"
POSTGRES_URL = "BENCH_POSTGRES_URL"
"""Variables that name the servers, for workers as well: ``redis://...`` and ``postgresql://...``."""


def redis_url() -> str:
    """The Redis database of this measurement."""
    return os.environ[REDIS_URL]


def postgres_url() -> str:
    """The PostgreSQL database of this measurement."""
    return os.environ[POSTGRES_URL]


class Peer(abc.ABC):
    """One way to run jobs."""

    name: ClassVar[str]
    package: ClassVar[str]
    keeps: ClassVar[str]
    """Where its jobs are while they wait and run."""
    jobs: ClassVar[int]
    """How many make a run of some seconds."""

    @property
    def version(self) -> str:
        return metadata.version(self.package)

    def prepare(self) -> None:
        """Make tables and the like."""
        return

    @abc.abstractmethod
    def worker(self) -> list[str]:
        """The command that starts one worker process."""

    def worker_environment(self) -> Mapping[str, str]:
        """Variables that the worker needs besides the servers'."""
        return {}

    @abc.abstractmethod
    def post(self, stamps: str) -> None:
        """Post one job that stamps to a path."""

    def post_steps(self, stamps: str, steps: int) -> bool:
        """Post one job of so many durable steps that each stamp; False if it knows no steps."""
        return False

    def close(self) -> None:
        """Let go of connections."""
        return
