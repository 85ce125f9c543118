"""Breaks the conductor that is about to start here, as the variable says; see tests/chaos/mutants."""

import os

if "CHAOS_MUTANT" in os.environ:
    from tests.chaos.mutants.broken import break_it

    break_it(os.environ["CHAOS_MUTANT"])
