"""The processes that a process has started, and they in turn, whatever sessions and groups they made of themselves.

Whoever starts them is a subreaper (:func:`take_in_orphans`), so that one whose parent has ended is its child, not
init's. Nothing that began below it can leave. Linux only, as all of the conductor.

A signal goes to a process by a descriptor of it, and only if its parent is of the family still: whatever ends and
begins meanwhile, no stranger gets one.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator

_PR_SET_CHILD_SUBREAPER = 36
_NOT_THERE = (FileNotFoundError, ProcessLookupError)
STATE, PARENT, RSS = 0, 1, 21
_ENDED = (b"Z", b"X")
TIMES = slice(11, 15)
"""In ticks: its own as user and as system, and the same of its children that were waited for."""
WAITED_TIMES = slice(13, 15)


def take_in_orphans() -> None:
    """From here on whatever is started below this process becomes its child when its own parent has ended."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def stat_of(pid: int) -> list[bytes] | None:
    """What the kernel tells of a process in /proc/PID/stat, after its name; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b")")[2].split()
    except _NOT_THERE:
        return None


def children_of(pid: int) -> list[int]:
    """The children of a process: of each of its threads, since it is those that have them."""
    found: list[int] = []
    with contextlib.suppress(*_NOT_THERE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += _children_of_thread(pid, thread)
    return found


def _children_of_thread(pid: int, thread: str) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
            return [int(word) for word in _all_of(file.read).split()]
    except _NOT_THERE:
        return [] if _HAS_CHILDREN or int(thread) != pid else _children_by_search(pid)


_HAS_CHILDREN = os.path.exists("/proc/self/task/self/children") or os.path.exists(
    f"/proc/self/task/{os.getpid()}/children"
)
"""Nearly all kernels are made with that; on others all processes have to be looked at."""


def _all_of(read: Callable[[int], bytes | None]) -> bytes:
    found = b""
    while more := read(65536):
        found += more
    return found


def _children_by_search(parent: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _parent_of(pid) == parent]


def _parent_of(pid: int) -> int | None:
    stat = stat_of(pid)
    return None if stat is None else int(stat[PARENT])


def descendants(root: int) -> Iterator[int]:
    """All processes below this one, each after its parent, which is asked for its children only after that.

    What begins or ends meanwhile may be missed, or not.
    """
    seen, left = {root}, deque([root])
    while left:
        below = [child for child in children_of(left.popleft()) if child not in seen]
        seen.update(below)
        left.extend(below)
        yield from below


def signal_descendants(root: int, number: int, *, but: int | None = None) -> int:
    """Send a signal to all processes below this one, once, those on top first; how many got it.

    :param but: one of them, which gets none
    """
    below = list(descendants(root))  # all of them first: who ends has no children any more
    family = {root, *below}
    return sum(_signal(pid, family, number) for pid in below if pid != but and not _has_ended(pid))


def _has_ended(pid: int) -> bool:
    """Whether all that is left of it is what its parent has not asked for yet."""
    stat = stat_of(pid)
    return stat is None or stat[STATE] in _ENDED


def _signal(pid: int, family: set[int], number: int) -> bool:
    """Signal a process that is of the family still; False if it is gone, or another user's (after ``sudo``)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # gone, or a kernel of before 5.3
            if _parent_of(pid) in family:
                os.kill(pid, number)
                return True
            return False
        try:
            if _parent_of(pid) in family:
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False
