"""The builtin job type ``backup_directory``: a dated, verified archive of a directory, or none at all.

Invariants, whatever dies and whenever:

- An archive that has its final name is whole: written, checksummed, read back and on the disk before it got the name.
- Nothing that was there is overwritten, and nothing is removed that is not an archive of the same backup's.
- Until then everything lies in one *work directory* inside the destination, ``.partial-<token>``. The token is that of
  the job, so an atom that is run again finds, and first removes, what its earlier, unfinished execution left.
- Every execution of an atom writes to a file of a name of its own, which only its result tells. A conductor that lost
  its job without noticing can so never write into a file that its successor trusts.
- Old archives are moved aside first and deleted when nothing can fail any more. From there on there is no way back,
  and a revert that comes too late says so, and leaves the new archive where it is.
"""
