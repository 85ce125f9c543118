"""How states look: a symbol and a style each, the same in every command."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from jobrunner.model import JobState


@dataclass(frozen=True, slots=True)
class Look:
    """A symbol, what stands for it where the terminal has no Unicode, and a style in rich's words."""

    symbol: str
    ascii: str
    style: str

    @property
    def mark(self) -> str:
        return self.symbol if has_unicode() else self.ascii


JOBS = {
    JobState.BLOCKED: Look("◇", ":", "blue"),
    JobState.SCHEDULED: Look("◷", "@", "blue"),
    JobState.WAITING: Look("◌", ".", "yellow"),
    JobState.RUNNING: Look("▶", ">", "bold cyan"),
    JobState.SUSPENDED: Look("‖", "=", "yellow"),
    JobState.SUCCEEDED: Look("✔", "+", "green"),
    JobState.FAILED: Look("✘", "x", "bold red"),
    JobState.REVERTED: Look("↩", "<", "magenta"),
    JobState.CANCELLED: Look("⊘", "-", "bright_black"),
    JobState.TIMED_OUT: Look("✘", "!", "bold red"),
    JobState.DEAD: Look("✘", "%", "bold red"),
    JobState.EXPIRED: Look("⊘", "~", "bright_black"),
}

ATOMS = {
    "PENDING": Look("·", ".", "bright_black"),
    "RUNNING": Look("▶", ">", "bold cyan"),
    "SUCCESS": Look("✔", "+", "green"),
    "FAILURE": Look("✘", "x", "bold red"),
    "REVERTING": Look("↺", "<", "bold magenta"),
    "REVERTED": Look("↩", "<", "magenta"),
    "REVERT_FAILURE": Look("✘", "x", "bold red"),
    "RETRYING": Look("↻", "~", "yellow"),
    "IGNORE": Look("╌", "-", "bright_black"),
    "SUSPENDED": Look("‖", "=", "yellow"),
    "GONE": Look("╌", "-", "bright_black"),
}
UNKNOWN = Look("?", "?", "bright_black")

ACTIVE_ATOMS = frozenset({"RUNNING", "REVERTING", "RETRYING"})
DONE_ATOMS = frozenset({"SUCCESS", "REVERTED", "IGNORE", "GONE"})

ANSI = {
    "blue": "34", "yellow": "33", "bold cyan": "1;36", "green": "32", "bold red": "1;31", "magenta": "35",
    "bright_black": "90", "bold magenta": "1;35", "bold": "1", "dim": "2",
}  # fmt: skip
"""The styles as escape sequences, for single lines, where importing rich would cost more than it gives."""


def job_look(state: JobState) -> Look:
    return JOBS.get(state, UNKNOWN)


def atom_look(state: str) -> Look:
    return ATOMS.get(state, UNKNOWN)


def has_unicode() -> bool:
    """Whether what is printed can be more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")
