"""What an examination finds: values, for whoever prints or sends them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from jobrunner.config import LoadedConfig
from jobrunner.errors import EXIT_UNAVAILABLE, JobrunnerError
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.schema import SchemaState, schema_state


class Health(str, enum.Enum):
    """How good or bad a finding is."""

    OK = "ok"
    WARNING = "warning"  # works, but somebody should know
    ERROR = "error"  # does not work, or a promise does not hold until it is mended

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at. ``hint`` says what to do, ``detail`` is for who wants to know more."""

    area: str
    health: Health
    what: str
    hint: str | None = None
    detail: str | None = None
    away: bool = False
    """Whether the board or the store could not be reached."""

    def to_json(self) -> dict[str, Any]:
        keys = ("area", "what", "hint", "detail", "away")
        return {"health": self.health.value} | {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined: a configuration and the parts that it names. Looked at in turn, by one thread."""

    context: JobContext
    loaded: LoadedConfig

    @cached_property
    def schema(self) -> SchemaState:
        """The state of the store's tables; raises StoreUnavailable. A SQLite file that is not there is not made."""
        file = self.sqlite_file
        if file is not None and not Path(file).exists():
            return SchemaState.ABSENT
        return schema_state(self.context.database)

    @property
    def sqlite_file(self) -> str | None:
        """The store's file, if it is one."""
        database = self.context.database
        return database.url.database if database.dialect == "sqlite" else None

    @property
    def has_tables(self) -> bool:
        """Whether the store can be read, which an earlier version may lack columns for; false while it is away."""
        try:
            return self.schema in (SchemaState.CURRENT, SchemaState.NEWER)
        except (JobrunnerError, SQLAlchemyError):  # what it is, the look at the store has told
            return False


class Reporter:
    """Makes the findings of one area."""

    def __init__(self, area: str) -> None:
        self.area = area

    def ok(self, what: str, *, hint: str | None = None) -> Finding:
        return Finding(area=self.area, health=Health.OK, what=what, hint=hint)

    def warning(self, what: str, hint: str | None) -> Finding:
        return Finding(area=self.area, health=Health.WARNING, what=what, hint=hint)

    def error(self, what: str, hint: str | None, *, detail: str | None = None, away: bool = False) -> Finding:
        return Finding(area=self.area, health=Health.ERROR, what=what, hint=hint, detail=detail, away=away)

    def failed(self, error: JobrunnerError) -> Finding:
        """The finding for what one of the parts raised."""
        return self.error(error.message, error.hint, away=error.exit_code == EXIT_UNAVAILABLE)
