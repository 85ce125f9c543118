"""The capabilities that come with jobrunner."""

from __future__ import annotations

import errno
import importlib.util
import platform
import shutil
import socket
import sys

from jobrunner.model import JobView
from jobrunner.plugins.capabilities import YES, Verdict
from jobrunner.plugins.decorators import register_capability
from jobrunner.quantities import format_size, parse_size

X86_64 = ("x86_64", "amd64")
ARM64 = ("aarch64", "arm64")
BUSY = (errno.EADDRINUSE, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)


def port_is_free(job: JobView) -> Verdict:
    """The TCP port in the job's parameter ``port`` can be listened on.

    That is at the address in its parameter ``host`` or ``bind``, or else at all addresses.
    """
    port, host = job.parameters.get("port"), job.parameters.get("host", job.parameters.get("bind"))
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        return _no(f"the job has no parameter 'port' with a port's number; it is {port!r}")
    host = host if isinstance(host, str) else ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers set it: a port whose last connections are in TIME_WAIT is free, one that is listened on
        # is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in BUSY or isinstance(error, socket.gaierror):
                return _no(f"port {port} is not free: {error.strerror or error}")
            raise
    return YES


def is_x86_64(job: JobView) -> Verdict:
    """The node's processor is an x86-64."""
    return _is_machine(X86_64)


def is_arm64(job: JobView) -> Verdict:
    """The node's processor is a 64-bit ARM."""
    return _is_machine(ARM64)


def is_linux(job: JobView) -> Verdict:
    """The node runs Linux."""
    return YES if sys.platform == "linux" else _no(f"this node runs {sys.platform}")


def has_command(job: JobView, command: str) -> Verdict:
    """The program ``has_command:<name>`` is on the node's PATH."""
    return YES if shutil.which(command) else _no(f"there is no program {command!r} on this node's PATH")


def has_python_module(job: JobView, module: str) -> Verdict:
    """The top-level Python module ``has_python_module:<name>`` can be imported on the node."""
    # Looking for a.b would import a: a reference in a posting must not run code.
    if not module.isidentifier():
        return _no(f"{module!r} is not the name of a top-level module")
    return (
        YES if importlib.util.find_spec(module) else _no(f"there is no Python module {module!r} on this node")
    )


def min_free_memory(job: JobView, size: str) -> Verdict:
    """The node has at least ``min_free_memory:<size>`` (``2GiB``) of memory that can be had without
    swapping.
    """
    import psutil

    return _enough(int(psutil.virtual_memory().available), parse_size(size), "of memory")


def min_free_disk(job: JobView, size: str) -> Verdict:
    """The node has at least ``min_free_disk:<size>[@<path>]`` (``50GB@/srv``) on the path's disk.

    Without a path it is the conductor's working directory.
    """
    amount, _, path = size.partition("@")
    try:
        free = shutil.disk_usage(path or ".").free
    except OSError as error:
        return _no(f"the disk of {path} cannot be looked at: {error.strerror}")
    return _enough(free, parse_size(amount), f"on the disk of {path or 'the working directory'}")


ALL = (
    port_is_free,
    is_x86_64,
    is_arm64,
    is_linux,
    has_command,
    has_python_module,
    min_free_memory,
    min_free_disk,
)


def register_all() -> None:
    """Register them; done when plugins are loaded, so that importing this module has no effect."""
    for predicate in ALL:
        register_capability()(predicate)


def _is_machine(names: tuple[str, ...]) -> Verdict:
    machine = platform.machine().lower()
    return YES if machine in names else _no(f"this node's processor is {machine or 'of unknown kind'}")


def _enough(free: int, wanted: int, of_what: str) -> Verdict:
    if free >= wanted:
        return YES
    return _no(f"{format_size(free)} {of_what} are free, and {format_size(wanted)} are wanted")


def _no(reason: str) -> Verdict:
    return Verdict(ok=False, reason=reason)
