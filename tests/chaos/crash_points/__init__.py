"""Crash points: a process dies at every write of the journal, another resumes, and nobody can tell afterwards.

For each shape of flow a job is run once without a fault, and its writes are counted: the transaction that claims it,
and every transaction of the journal's writer. Then, for each of these writes, a job of that shape is run by a process

- that is killed right before the write,
- that is killed right after its commit, before anybody in the process heard of it,
- to which the commit's answer is lost, so that it has to write again what may be committed already;

and after a kill by another process, which may be killed itself, until one of them gets to the end. Then the same once
more with every change written by itself, and a kill after each: the journal also writes what has been pending for a
while, and so may hold any beginning of the changes.

Invariants, and by what they are shown:

- An owner is a process of its own (owner.py), forked and ended by SIGKILL: no Python code runs after the chosen point.
  It runs a job as a worker does: claim, ``run_job``, the real engine and journal. Only the writer's ``_transaction``
  is wrapped, and the call that claims (faults.py).
- What the tasks did is known from a file that they append to (evidence.py), in one ``write`` each, before they return.
  The system under test has no part in it. Each run of a task draws a token, so a value that was made twice shows.
- What is recorded is read by plain SQL over the plain drivers (record.py), by the process that forks the owners: after
  each death, and after the end.
- What is expected of a shape is written down by hand (shapes.py): the end of its job, and what each atom does. The run
  without a fault is held against that, the others against the run without a fault (checks.py).
- The points are counted by running, never listed; a run with fewer writes than the shape has barriers is a failure.
- A journal or an owner that breaks a promise (broken.py) is found out by the same checks.

``python -m tests.chaos.crash_points`` prints the table; the tests run it on SQLite.
"""
