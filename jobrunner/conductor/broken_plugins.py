"""What a conductor says of plugins that could not be loaded: once, not once for each of its workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a supervisor loads no plugins
    from jobrunner.plugins.registry import PluginProblem

log = logging.getLogger(__name__)

TOLD = 20
"""So many are told of at most; `jobrunner doctor` has them all."""
CHARACTERS = 500


def in_words(problems: Sequence[PluginProblem]) -> list[str]:
    """What a worker tells its supervisor of them, bounded: an exception's message may be of any size."""
    return [str(problem)[:CHARACTERS] for problem in problems[:TOLD]]


class BrokenPlugins:
    """What was told already. One that was mended and breaks again is told again."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, problems: Sequence[str]) -> None:
        """Log what is new of all the problems that a worker has now."""
        for problem in problems:
            if problem not in self._told:
                log.warning(
                    "a plugin has a problem: %s. What it should register is not run by this conductor until it is "
                    "mended and plugins are loaded again (SIGHUP); `jobrunner doctor` shows the traceback.",
                    problem.rstrip("."),
                )
        self._told = set(problems)
