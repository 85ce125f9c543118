"""Which flows were found sound a moment ago.

A job's flow is built and compiled when the job is posted, so that a broken one is refused there and not by a conductor.
That costs some 0.2 ms for each atom, soon more than sending the job. So whoever posts one job type with the same
parameters again and again has it checked once in SOUND_FOR_S.

What is gained: posting such a job costs a check of its parameters and two round trips, however large its flow. What is
lost: a factory that looks at more than its parameters (whether a file is there) is not asked again for as long, if it
was content; the conductor asks it in any case. Other parameters are another flow, and checked; so is a plugin that was
loaded anew. What was refused is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time

from jobrunner.model import Json

SOUND_FOR_S = 5.0
REMEMBERED = 64
"""Sets of parameters, for each job type."""


class SoundFlows:
    """The flows of one job type that were found sound, by what they are made from. Safe for several threads."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def holds(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > time.monotonic()

    def add(self, key: bytes) -> None:
        """Remember it; the one that was added first is forgotten if there are too many."""
        with self._lock:
            self._until.pop(key, None)
            while len(self._until) >= REMEMBERED:
                del self._until[next(iter(self._until))]
            self._until[key] = time.monotonic() + SOUND_FOR_S


def key_of(*made_from: Json) -> bytes:
    """A key for JSON values, of the same short length for any; the order of an object's names counts."""
    return hashlib.blake2b(json.dumps(made_from).encode(), digest_size=16).digest()
