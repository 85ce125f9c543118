"""For how long finished jobs are kept: ``[retention]``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from jobrunner.config.section import Section, from_json
from jobrunner.states import TERMINAL_STATES


class RetentionRule(Section):
    """How long finished jobs of a state, of a type, or of both are kept; with no limit, for ever."""

    state: str | None = None
    type: str | None = None
    max_days: float | None = Field(default=None, ge=0)
    max_count: int | None = Field(default=None, ge=0)

    @field_validator("state")
    @classmethod
    def _a_state(cls, state: str | None) -> str | None:
        if state is None:
            return None
        known = {one.value for one in TERMINAL_STATES}
        if state.upper() not in known:
            raise ValueError(f"{state!r} is no state in which a job has ended: {', '.join(sorted(known))}")
        return state.upper()

    def fits(self, state: str, type_: str) -> bool:
        """Whether it is about jobs of this state and type."""
        return self.state in (None, state) and self.type in (None, type_)


class RetentionSection(Section):
    """How long finished jobs are kept, with their output and all else; conductors remove the others."""

    max_days: float | None = Field(
        default=None, ge=0, description="Days for which finished jobs are kept; default: for ever"
    )
    max_count: int | None = Field(
        default=None, ge=0, description="Finished jobs kept of each type and state; default: all"
    )
    rules: tuple[RetentionRule, ...] = Field(
        default=(), description="What holds for a state or type instead; the first that fits"
    )
    every: float = Field(
        default=600.0, gt=0, description="Seconds from one time that jobs are removed to the next"
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _rules_as_json(cls, rules: Any) -> Any:
        return from_json(rules, "a list")

    @property
    def all_rules(self) -> tuple[RetentionRule, ...]:
        """The rules, and last what holds for all that none of them is about."""
        return (*self.rules, RetentionRule(max_days=self.max_days, max_count=self.max_count))

    @property
    def is_limited(self) -> bool:
        """Whether anything is ever to be removed."""
        return any(rule.max_days is not None or rule.max_count is not None for rule in self.all_rules)
