"""The journal: how a running flow is recorded, atom by atom, in TaskFlow's own tables.

It is made for one fact: a claimed flow has one owner. So it keeps the owned flow in memory, gathers what changed, and
writes the changes of many flows of a process in one transaction, one after the other. What it promises:

- **Barriers.** A flow is blocked only where it must be: before an atom runs or reverts, until the results of the atoms
  before it and its own RUNNING (or REVERTING) are committed, in one commit; and at its end. Everything else (progress,
  intermediate states, output) is gathered and goes with the next commit, or after LAZY_S at the latest.
- **The fence.** Every transaction begins by locking the rows of the jobs it touches, in the order of their ids, and
  comparing their epochs. A flow whose job has another epoch by now is left out, and gets LeaseLost; nothing that a
  former owner still sends is ever written. (A comparison inside a subquery does not do this at READ COMMITTED: the
  claimer's commit can slip in between the subquery's snapshot and the write.)
- **One transaction a flow.** What is pending for a flow is written as a whole or not at all; the job's own end too.
- **Replays.** A commit whose answer was lost is sent again: every statement may be run twice with the same outcome.
- **Only what changed.** A row is written when it changed since it was last written, and then only its changed columns.
- **One flow's fault is its own.** If a batch fails for another reason than a passing one, each flow is tried alone.

Costs of a job of one atom whose batch it has for itself: two transactions here (start; end), one at its claim.
Read flow.py first, then writer.py, statements.py, and backend.py, which is what TaskFlow sees.
"""
