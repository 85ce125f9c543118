"""The conductor: the processes on a machine that claim jobs and run them.

Invariants:

- The supervisor does no work of its own, so nothing that a job does can keep it from keeping leases.
- A worker claims under an identity of its own, new at each start; the supervisor keeps, and after the worker's death
  releases, exactly the claims of that identity.
- A worker that is not told in time that its leases were kept starts no further atom, by a clock that suspends and
  time changes do not fool (CLOCK_BOOTTIME).
- What a job did is decided in SQL, under its epoch; the board is told afterwards.
- A worker whose supervisor is gone ends at once: nobody keeps its leases any more.

Read run.py for a job's life, worker.py for the claim loop, supervisor.py for the rest.
"""
