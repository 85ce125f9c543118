"""The directory in which a conductor was started, and in which its plugins are looked for.

Deployments replace it while the conductor runs. A process whose directory was removed has none from then on, whatever
takes its place; so it is kept by its name, and gone back to.
"""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)


def here() -> str | None:
    """The working directory; None if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def come_back(directory: str | None) -> None:
    """Go to where this directory is now, if that from which this process works was removed."""
    if directory is None or here() is not None:
        return
    try:
        os.chdir(directory)
    except OSError as error:
        log.warning(
            "the working directory was removed, and relative paths lead nowhere until it is back: %s", error
        )
