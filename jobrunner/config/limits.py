"""How many jobs may run at once, or start in a time: ``[limits]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from jobrunner.config.section import Section, from_json
from jobrunner.names import is_name
from jobrunner.policies import ANY_NUMBER
from jobrunner.quantities import parse_rate

NAME_LIMIT = 190
"""Characters; with ``node:`` or the like before them they are a semaphore's name."""
LIMIT_EXPECTED = "a number, any, a rate such as 10/1m, or a table with count, rate or both was expected"


class Limit(Section):
    """How many units a semaphore has, and how many jobs that hold it may start in a time; None is as the jobs say."""

    count: int | None = Field(default=None, ge=0, le=ANY_NUMBER)
    rate: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        """A number, ``any``, or a rate stands for itself."""
        if isinstance(value, (bool, float, list, tuple)):
            raise ValueError(LIMIT_EXPECTED)
        if isinstance(value, str) and "/" in value:
            return {"rate": value}
        if isinstance(value, Mapping):
            return {**value, **({"count": _count(value["count"])} if "count" in value else {})}
        return {"count": _count(value)} if isinstance(value, (int, str)) else value

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, rate: str | None) -> str | None:
        if rate is not None:
            parse_rate(rate)
        return rate

    @model_validator(mode="after")
    def _says_something(self) -> Limit:
        if self.count is None and self.rate is None:
            raise ValueError(LIMIT_EXPECTED)
        return self

    @property
    def starts(self) -> tuple[int, int] | None:
        """So many starts within so many milliseconds."""
        if self.rate is None:
            return None
        starts, seconds = parse_rate(self.rate)
        return starts, round(seconds * 1000)


def _count(value: Any) -> Any:
    return ANY_NUMBER if isinstance(value, str) and value.strip().lower() == "any" else value


Named = dict[str, Limit]


class LimitsSection(Section):
    """How many jobs may run at once, or start in a time, for the whole installation."""

    semaphores: Named = Field(default={}, description="Units of named semaphores, rates, or both")
    types: Named = Field(
        default={}, description="Jobs of a type, in the place of its own max_running and rate"
    )
    nodes: Named = Field(default={}, description="Jobs that run on a node at once")
    tags: Named = Field(default={}, description="Jobs with a tag, name=value")

    @field_validator("*", mode="before")
    @classmethod
    def _as_json(cls, given: Any) -> Any:
        return from_json(given, "an object")

    @field_validator("*")
    @classmethod
    def _names(cls, named: Named) -> Named:
        for name in named:
            if not is_name(name, NAME_LIMIT):
                raise ValueError(
                    f"{name[:60]!r} cannot name what is limited: up to {NAME_LIMIT} printable characters, "
                    "no blanks around them"
                )
        return named

    @field_validator("semaphores")
    @classmethod
    def _plain_names(cls, named: Named) -> Named:
        for name in named:
            kind = name.partition(":")[0]
            if ":" in name and f"{kind}s" in cls.model_fields:
                raise ValueError(f"{name!r} belongs into limits.{kind}s, without its {kind}:")
        return named

    @field_validator("nodes")
    @classmethod
    def _only_counts(cls, named: Named) -> Named:
        for name, limit in named.items():
            if limit.rate is not None:
                raise ValueError(f"the node {name!r} cannot have a rate, only a number of jobs")
        return named

    @field_validator("tags")
    @classmethod
    def _names_and_values(cls, named: Named) -> Named:
        for name in named:
            if "=" not in name:
                raise ValueError(f"{name!r} is no tag: a tag is name=value")
        return named

    @property
    def by_semaphore(self) -> dict[str, Limit]:
        """All of them, by the names that `jobrunner limits` has for them."""
        kinds = {"": self.semaphores, "type:": self.types, "node:": self.nodes, "tag:": self.tags}
        return {f"{kind}{name}": limit for kind, named in kinds.items() for name, limit in named.items()}
