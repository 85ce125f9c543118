"""Jobs of which there is to be one at a time: what makes two of them the same."""

from __future__ import annotations

import hashlib
import json

from jobrunner.model import Posting
from jobrunner.plugins.registry import JobType


def unique_key(job_type: JobType, accepted: Posting) -> str | None:
    """The key that open jobs of the type must not share; None if they may be alike.

    :param accepted: with its parameters as they are stored: defaults are filled in
    """
    if job_type.unique is False:
        return None
    stored = job_type.store(accepted.parameters)
    names = sorted(stored) if job_type.unique is True else job_type.unique
    chosen = {name: stored.get(name) for name in names}
    text = json.dumps([job_type.name, chosen], sort_keys=True, separators=(",", ":"))
    return f"{job_type.name[:128]}:{hashlib.sha256(text.encode()).hexdigest()}"
