"""Chaos: conductors at work while everything around them breaks, and a check of what must hold all the same.

Invariants of the harness itself:

- The evidence is independent of what is tested: tasks append to fsynced files of their own, triggers in SQL write the
  order of commits, and the checker reads nothing else but what users were told.
- Everything random comes from the seed: the schedule of faults is drawn before the run and printed. What a fault meets
  when its time comes depends on the machine, so a run can be repeated only as far as that.
- Only what was acknowledged counts as posted. A job that the harness itself corrupts is set apart, and known.
- Faults end what the harness started, by process, and nothing else.

Read harness.py for a run, faults.py for what can happen, checker.py for what must hold.
"""
