"""Job types that wait for a time, or for a signal, between two atoms that leave evidence."""

from __future__ import annotations

from typing import Any

from flows.probe.evidence import Step
from taskflow.patterns import linear_flow

from jobrunner import Sleep, WaitForSignal, job


@job
def asks(evidence: str, signal: str = "go", within: float | None = None) -> Any:
    """Waits for a signal."""
    wait = WaitForSignal(signal, timeout=within, provides="word")
    return linear_flow.Flow("asks").add(Step("before", evidence), wait, Step("after", evidence))


@job
def naps(evidence: str, seconds: float = 1.0) -> Any:
    """Waits for a time."""
    return linear_flow.Flow("naps").add(Step("before", evidence), Sleep(seconds), Step("after", evidence))
