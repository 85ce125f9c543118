"""Stock TaskFlow through the same harness: its own executor conductors, Redis job board and SQL persistence.

It gets the same jobs, the same faults and the same evidence. It has no epochs and no table of jobs. So some checks go
by owners instead (tests/chaos/owners.py), and a table of jobs is kept beside its own by triggers: a job is in it what
its flow is by TaskFlow's record.

``python -m tests.chaos --system tests.chaos.stock.system:Stock`` runs its non-blocking conductor, ``...:Blocking`` the
other one, ``...:Expiring`` the first with claims that expire.
"""
