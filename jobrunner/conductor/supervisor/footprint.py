"""The supervisor's memory, which every node spends beside that of its jobs; so it is kept small.

Most of it is what is imported; a test names what must not be. What a process that lives long asks the database leaves
garbage in cycles, which piles up by the megabyte when collections are as rare as the command line makes them.
"""

from __future__ import annotations

import gc

COLLECT_EVERY = 700
"""Objects between two garbage collections: Python's own number, which the command line raises for its imports."""


def keep_small() -> None:
    """Collect garbage while there is little of it; for a process that has imported what it needs.

    What is there by now is not looked at again, so that full collections are cheap and come soon.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
