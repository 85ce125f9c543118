"""How many sequences are drawn, and from which seeds.

``bin/test`` draws the same 200 on each board as long as the code stays the same. With MODEL_SEQUENCES in the
environment that many are drawn from a new seed, which is printed; MODEL_SEED repeats it, if the same tests are
collected: constants of the modules that are loaded are drawn as well.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.model.linked_machine import LinkedJobs
from tests.conformance.model.machine import BoardAndStore
from tests.conformance.model.world import World

SEQUENCES = 200
PARTS = 4
"""In so many tests, which run side by side."""
STEPS = 30
SETTINGS = settings(
    database=None,
    deadline=None,
    derandomize=False,
    max_examples=SEQUENCES // PARTS,
    print_blob=True,
    report_multiple_bugs=False,
    stateful_step_count=STEPS,
    suppress_health_check=list(HealthCheck),
)


def run_part(world: World, part: int) -> None:
    """Fail with the shortest sequence found in which board or store does what the model does not."""
    number = os.environ.get("MODEL_SEED")
    wanted = os.environ.get("MODEL_SEQUENCES")
    if number is None:
        number = "0" if wanted is None else str(random.SystemRandom().randrange(2**32))
    sequences = -(-int(wanted or SEQUENCES) // PARTS)
    print(f"MODEL_SEED={number} MODEL_SEQUENCES={sequences * PARTS}, part {part} of {PARTS}")
    _run(LinkedJobs, world, int(number) + part, settings(SETTINGS, max_examples=sequences))


def find_difference(world: World, number: int = 0, *, linked: bool = False) -> None:
    """Draw sequences up to the first that fails, which is not made shorter; most faults show in the first twenty.

    :param number: the seed, for a fault that another one shows sooner
    :param linked: with jobs that come after others; without them a fault of single jobs shows sooner
    """
    kind = LinkedJobs if linked else BoardAndStore
    _run(kind, world, number, settings(SETTINGS, max_examples=10 * SEQUENCES, phases=[Phase.generate]))


def _run(kind: type[BoardAndStore], world: World, number: int, chosen: settings) -> None:
    def machine() -> BoardAndStore:
        return kind(world)

    run_state_machine_as_test(seed(number)(machine), settings=chosen)
