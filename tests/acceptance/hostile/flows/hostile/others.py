"""Another plugin, whose public function makes a flow; no posting of ``targets`` may name it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taskflow.patterns import linear_flow
from taskflow.task import FunctorTask

from jobrunner import job


def detonating_flow(*args: Any) -> Any:
    Path(os.environ["HOSTILE_CANARY"]).touch()
    return linear_flow.Flow("others")


@job
def other() -> Any:
    """A job type, so that this is a plugin."""
    return linear_flow.Flow("other").add(FunctorTask(lambda: None, name="nothing"))
