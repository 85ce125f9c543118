"""Write transactions whose statements go to the server together.

On the path of every job it is round trips that cost: each is a wait for the server, and another for the interpreter's
lock. A pipeline gathers statements and sends them with their COMMIT, so a transaction that locks rows, looks at them
and writes costs two round trips however many tables it writes to: MariaDB gets one compound statement, MySQL one text
of several, PostgreSQL libpq's pipeline mode; SQLite has no server, and is spared SQLAlchemy's work for each statement.

Invariants:

- A statement after one that failed is not executed, and COMMIT is the last: nothing is half committed.
- When COMMIT was sent and its answer was lost, the outcome is unknown; whoever runs the transaction again must be able
  to (see ``Database.pipelined``).
- Texts are made by SQLAlchemy from statements in the code; values are bound by the driver, or escaped.
- Errors leave as SQLAlchemy's, so that faults.py reads them all alike.
"""
