"""What jobrunner can do, in figures: measured beside stock TaskFlow, and beside what people would pick instead.

``python -m bench`` measures the table of :mod:`bench.rows`; ``python -m bench.peers`` the peers. Rules:

* Everything in one run stands on the same servers, started for the run, which flush every commit to a real disk.
* Jobrunner is driven as its users drive it: ``jobrunner run`` in a process of its own, job types from a plugin
  directory, posting through ``jobrunner.jobs``. Nothing is switched off or on for the figures' sake.
* Stock TaskFlow, and each peer, runs in a process of its own as well, as its documentation says.
* A figure that cannot be measured is a failed figure, and harms no other.
"""
