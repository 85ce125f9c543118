"""The redis and sql boards as TaskFlow's: drivers that any TaskFlow program, and a stock conductor, can run on.

``taskflow.jobs.backends.fetch("name", {"board": "jobrunner-redis", "connection": "redis://host:6379/0"})``, or
``jobrunner-sql`` with a database's URL. TaskFlow's postings stand in a keyspace, or table, of their own: jobrunner's
conductors never see them. Unlike jobrunner's jobs they are nowhere else, so these boards lose nothing by themselves.

Invariants, which the conformance suite tries to break:

1. Every claim has a lease; a thread of the board object that made it keeps it while its process lives. A claim that
   was made with an expiry of the program's own is left to the program.
2. A claim belongs to itself, not to a name: it has an identity that no other claim ever has, and whoever lost it can
   neither extend, abandon, trash nor consume the next one, be it under the same name, or in the same process.
3. Each step on a claim compares owner and lease, by the server's clock, in the script or statement that does it.
4. What this process lost while it ran it claims again only after it has settled the first run.
5. A job is COMPLETE only if it was consumed, UNCLAIMED or CLAIMED only if it is on the board; else asking raises.
6. What can be claimed is listed first: by priority, then oldest first, page by page, at a cost that does not grow with
   the number of jobs behind. What cannot be read is skipped and reported, and stays where it is.
7. JSON only, bounded in size; what a job's details are is what they will be for whoever claims it.

A board object belongs to the process that connected it; a fork connects anew. Threads may share it.
"""
