"""Hearing from the kernel that a file was written to, by Linux's inotify."""

from __future__ import annotations

import ctypes
import os

_IN_MODIFY = 0x00000002
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_READ_BYTES = 4096
_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Tells that a file was written to since it was last asked.

    It tells nothing of what other machines write, nor of what is written through a mapping into memory.

    :param path: a file that is there
    :raises OSError: if there is no such file, or this user has as many watches as the system allows
    """

    def __init__(self, path: str) -> None:
        self._descriptor = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        try:
            _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_MODIFY))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """A file descriptor that is readable when the file was written to."""
        return self._descriptor

    def was_written(self) -> bool:
        """Whether it was written to since the last call."""
        try:
            return bool(os.read(self._descriptor, _READ_BYTES))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
