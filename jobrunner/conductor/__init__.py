"""The conductor: the processes on a machine that claim jobs and run them.

Invariants:

- The supervisor does no work of its own, and waits for no server and no worker in the thread that supervises; so
  nothing that a job or a server does can keep it from keeping leases, reaping and leaving.
- A worker claims under an identity of its own, new at each start; the supervisor keeps, and after the worker's death
  releases, exactly the claims of that identity.
- A worker that is not told in time that its leases were kept starts no further atom, by a clock that suspends and
  time changes do not fool (CLOCK_BOOTTIME).
- What a job did is decided in SQL, under its epoch; the board is told afterwards, by the thread that claims.
- A process runs a job once at a time, and each run has a journal of its own: what a run that lost its lease still
  does cannot reach the record of the next one.
- A job with which two workers died runs in a process of its own, so only the guilty one comes to five deaths. What a
  conductor ends on purpose is no death.
- A worker whose supervisor is gone ends at once: nobody keeps its leases any more. The kernel sees to that, along the
  line supervisor, fork server, worker; what a worker's threads are doing then does not matter.
- The fork server has one thread, no connection, and imports nobody's plugins: what it has, every worker gets a copy of.

Read run.py for a job's life; worker/worker.py for a worker's, and from there claiming.py, setting_off.py and orders.py
beside it; supervisor/supervisor.py for the rest.
"""
