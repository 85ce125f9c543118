"""Permits: which jobs hold which semaphores, and which wait for them. SQL is the truth about both.

Invariants:

- A permit is granted in the transaction that begins its job, and ends in the one in which the job is left: so whoever
  takes a job over from a dead owner finds that it has its permits, and nothing leaks.
- Permits are granted under locks on the semaphores' rows, taken in the order of their names, after those of the jobs.
  They end under the job's lock alone: who counts meanwhile may count one too many, never one too few.
- What a jobset holds as a whole is a permit of its own, under the set's id: granted when the first of its jobs begins,
  and ended, under a lock on the semaphore, once all of them have ended (passing.py). So it outlives owners.
- A job has all that it holds or nothing, so that no two wait for each other.
- Who was refused looks once more when its transaction has ended and the board has it again
  (conductor/worker/passing_on.py): what ended meanwhile may have seen nobody waiting.

Costs nothing for jobs that hold nothing. For one that does: three round trips, and one more for each semaphore beyond
the first, and where there is a rate; for a batch of several that many to look, and again to lock if some may begin.

A job's permits are granted in granting.py and ended in ending.py. What is held of a semaphore is read in rows.py, who
waits for it in line.py. Who is next, and what is left behind, is found in passing.py.
"""
