"""What may be configured: the sections, and all of them together, with what follows from them.

A field's description is what `jobrunner config show` prints with its key.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from jobrunner.config.files import default_database
from jobrunner.config.limits import LimitsSection
from jobrunner.config.retention import RetentionSection
from jobrunner.config.section import Section
from jobrunner.passwords import has_password, hide_password, with_password

MIB = 1024 * 1024
LABEL = re.compile(r"[A-Za-z0-9_.@-]{1,64}(=[A-Za-z0-9_.@-]{1,64})?")


class BoardSection(Section):
    """Where jobs wait and are claimed."""

    url: str | None = Field(
        None, description="redis://host:6379/0, or the store's own URL; default: the store"
    )
    password: str | None = Field(
        default=None, description="The board server's password, if it is not in the URL"
    )
    prefix: str = Field(
        "jobrunner", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="What its keys start with"
    )


class PersistenceSection(Section):
    """The SQL database that holds the truth."""

    url: str | None = Field(
        None, description="mysql+pymysql://user@host/db, postgresql+psycopg://..., sqlite:///path"
    )
    password: str | None = Field(default=None, description="The database's password, if it is not in the URL")
    patience: float = Field(
        300.0, gt=0, description="Seconds for which an outage of the database costs no job"
    )
    pool_size: int = Field(
        default=5, ge=1, le=100, description="Connections that a process keeps open at most"
    )


class ConductorSection(Section):
    """The processes that claim and run jobs on this machine."""

    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.@-]{1,128}$", description="The node's name; default: the host's"
    )
    processes: int | None = Field(
        default=None, ge=1, le=256, description="Worker processes; default: one a core"
    )
    jobs: int = Field(default=16, ge=1, le=1000, description="Jobs that a worker process runs at once")
    max_running: int | None = Field(
        default=None,
        ge=1,
        le=256_000,
        description="Jobs that this node runs at once; default: no limit but these",
    )
    lease: float = Field(
        10.0, ge=0.5, le=3600, description="Seconds after which a dead machine's jobs are taken over"
    )
    grace: float = Field(
        default=30.0, ge=0, description="Seconds that running atoms get to end at a shutdown"
    )
    give_way: float = Field(
        0.015, ge=0, le=1, description="Seconds for which it lets freer nodes go first, at most; 0: never"
    )
    cpu_affinity: bool = Field(
        default=True, description="Whether a busy worker keeps to one core; tasks always have all of them"
    )
    run_as: tuple[str, ...] = Field(
        default=(), description="Users as whom jobs may be run, if the conductor runs as root"
    )
    capability_timeout: float = Field(
        5.0, gt=0, description="Seconds after which a capability counts as not there"
    )
    labels: tuple[str, ...] = Field(
        default=(), description="The node's labels, names or name=value, for post --on label=..."
    )

    @field_validator("labels")
    @classmethod
    def _plain_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not LABEL.fullmatch(label):
                raise ValueError(
                    f"{label!r} is no label: a label is a name, or name=value, of letters, digits and _ . @ -"
                )
        return tuple(dict.fromkeys(labels))


class FlowsSection(Section):
    """Where plugins are looked for, besides jobrunner's own and installed packages'."""

    paths: tuple[Path, ...] = Field(
        default=(), description="Plugin directories, instead of ./flows and JOBRUNNER_FLOWS"
    )


class OutputSection(Section):
    """What is kept of what tasks print and log."""

    limit_bytes: int = Field(
        10 * MIB, ge=4096, description="Bytes kept of one job's output; then its middle goes"
    )


class Config(Section):
    """Everything that can be configured."""

    board: BoardSection = BoardSection()
    persistence: PersistenceSection = PersistenceSection()
    conductor: ConductorSection = ConductorSection()
    flows: FlowsSection = FlowsSection()
    output: OutputSection = OutputSection()
    retention: RetentionSection = RetentionSection()
    limits: LimitsSection = LimitsSection()

    @property
    def store_url(self) -> str:
        """The database's URL, with its password."""
        url = self.persistence.url or f"sqlite:///{default_database()}"
        return with_password(url, self.persistence.password)

    @property
    def board_url(self) -> str:
        """The board's URL, with its password; the store's URL if the board is in the store."""
        return (
            self.store_url if self.board.url is None else with_password(self.board.url, self.board.password)
        )

    @property
    def node_name(self) -> str:
        return self.conductor.name or socket.gethostname()

    @property
    def processes(self) -> int:
        """Worker processes; never more than jobs may run."""
        wanted = self.conductor.processes or len(os.sched_getaffinity(0))
        return min(wanted, self.conductor.max_running or wanted)

    def jobs_of(self, number: int, limit: int | None = None) -> int:
        """How many jobs the worker process of this number runs at once: its share of what the node may.

        :param limit: what somebody has limited the node to, if that is less
        """
        most = self.conductor.max_running or 256_000
        share, rest = divmod(most if limit is None else min(most, limit), self.processes)
        return min(self.conductor.jobs, share + (number < rest))

    @field_validator("board", "persistence")
    @classmethod
    def _can_be_split(cls, section: BoardSection | PersistenceSection, info: ValidationInfo) -> Section:
        try:
            urlsplit(section.url or "")
        except ValueError as error:
            raise ValueError(f"{info.field_name}.url is not a URL: {error}") from None
        return section

    @field_validator("board")
    @classmethod
    def _board_scheme(cls, board: BoardSection) -> BoardSection:
        if board.url is not None and "://" not in board.url:
            # Its value is not told: it may hold a password.
            raise ValueError("board.url is not a URL such as redis://host:6379/0")
        return board

    @field_validator("persistence")
    @classmethod
    def _lasts(cls, store: PersistenceSection) -> PersistenceSection:
        path = (store.url or "x").partition("?")[0]
        if path.startswith("sqlite:") and (path.rstrip("/").endswith(":") or path.endswith(":memory:")):
            raise ValueError(
                "persistence.url names a database in memory, which ends with each process; "
                "name a file: sqlite:////path"
            )
        return store

    @model_validator(mode="after")
    def _no_contradiction(self) -> Config:
        board, store = self.board.url, self.persistence.url
        if board is not None and _is_sql(board):
            wanted = store or f"sqlite:///{default_database()}"
            if with_password(board, None, strip=True) != with_password(wanted, None, strip=True):
                raise ValueError(
                    "board.url and persistence.url contradict each other: a board in SQL lives in the store's own "
                    f"database, but board.url names {hide_password(board)} and persistence.url "
                    f"{hide_password(wanted)}. Leave board.url out, or give both the same URL"
                )
        for name, section in (("board", self.board), ("persistence", self.persistence)):
            if section.password and section.url and has_password(section.url):
                raise ValueError(
                    f"{name}.url and {name}.password contradict each other: both give a password. Leave one of them out"
                )
        return self


def _is_sql(url: str) -> bool:
    return url.split("+")[0].split(":")[0] in ("sqlite", "mysql", "mariadb", "postgresql", "postgres")
