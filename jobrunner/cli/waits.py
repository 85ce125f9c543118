"""What a suspended job waits for, in words."""

from __future__ import annotations

from jobrunner.cli import text
from jobrunner.model import UNOWNED_STATES, Job, JobState, Parked


def waits_for(job: Job, now_ms: int) -> str:
    """``the signal approve, until 2026-01-31 12:00:00 (in 2h)``; empty for one that does not wait, or not any more."""
    if job.state not in UNOWNED_STATES or job.parked not in (None, Parked.SIGNAL):
        return ""
    if job.parked is None and job.available_ms <= now_ms:
        return ""
    until = f"{text.moment(job.available_ms)} ({text.ago(job.available_ms, now_ms)})"
    if job.awaits is None:
        return until if job.note is None and job.state is JobState.SUSPENDED else ""
    return _signals(job.awaits) + ("" if job.parked is Parked.SIGNAL else f", until {until}")


def _signals(awaits: str) -> str:
    names = [text.clean(name) for name in awaits.split(",")]
    if names == ["*"]:
        return "one of several signals"
    return f"the signal {names[0]}" if len(names) == 1 else f"one of the signals {', '.join(names)}"
