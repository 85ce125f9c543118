"""Processes of ``python -m jobrunner`` that do not import it again: forked from one that has (an *interpreter*).

What costs most of a short command, and of a conductor's start, are the imports; tests that are about neither need not
pay them. A process that is started here is one of its own as any other: with its own working directory, environment,
module path, files and signals; nothing of the test's process is in it. What differs: its modules are those of this
tree's ``jobrunner`` and of the libraries that it uses, imported before; plugins are not.

Where the imports themselves, the command line of a process or its memory are looked at, tests start Python afresh
(``cold``). So does :func:`start` for an environment that Python reads while it starts.

Invariants:

* The interpreter has one thread and connects to nothing, so it is safe to fork from.
* It is its processes' parent, and tells how they ended. It ends with the test's process, and they with it.
"""

from __future__ import annotations

from tests.support.warm.processes import Process, WarmProcess, start

__all__ = ["Process", "WarmProcess", "start"]
