"""Where the jobs of a type run first, as people write it: ``prefer="db1", failover="10m"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from jobrunner.policies import Placement
from jobrunner.quantities import parse_duration

_NODE = re.compile(r"[A-Za-z0-9_.@-]{1,128}")
"""As the configuration has it (``conductor.name``)."""


def placement(prefer: str | None, failover: str | float | timedelta | None = None) -> Placement | None:
    """The preference, None if no node is preferred; raises ValueError, which names what is wrong.

    :param failover: how long to wait for the node; a number is seconds
    """
    if prefer is None:
        if failover is not None:
            raise ValueError("failover is how long to wait for a preferred node, so name that: prefer")
        return None
    named: Any = prefer
    if not isinstance(named, str) or not _NODE.fullmatch(named):
        raise ValueError(f"prefer is {named!r}, and has to be a node's name, as `jobrunner nodes` lists them")
    return (
        Placement(prefer=prefer)
        if failover is None
        else Placement(prefer=prefer, failover=_seconds(failover))
    )


def _seconds(failover: str | float | timedelta) -> float:
    try:
        return parse_duration(failover)
    except ValueError as error:
        raise ValueError(f"failover: {error}") from None
