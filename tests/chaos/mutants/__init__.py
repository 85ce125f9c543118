"""Mutants: jobrunner with one promise broken on purpose, to show that a run of chaos finds it out.

A check that finds nothing proves something only if it finds what is there. Each mutant runs through the same harness as
jobrunner itself, under faults that bring out what it breaks, and the same faults with nothing broken are its control:
the mutant must be caught, and the control must not. The package knows nothing of this: a ``sitecustomize.py`` in
``startup`` replaces attributes of its modules in every process of the conductors, if a variable names a mutant.

Read broken.py for the mutants, plans.py for the faults, interleaving.py for what chaos alone would meet only by luck.
"""
