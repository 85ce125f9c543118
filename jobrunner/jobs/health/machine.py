"""Can this machine run a conductor well?"""

from __future__ import annotations

import resource
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from jobrunner.config import Config, data_directory
from jobrunner.errors import ConfigError
from jobrunner.jobs.health.finding import Finding, Reporter, Subject

AREA = "machine"
MIB = 1024 * 1024
DISK_LOW_BYTES = 1024 * MIB
DISK_FULL_BYTES = 100 * MIB
PYTHON = (3, 10)
TASKFLOW = (6, 0)
DESCRIPTORS_BASE = 64
"""File descriptors of a worker process beside those of its jobs and its connections."""
DESCRIPTORS_A_JOB = 8

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    config = subject.context.config
    yield version_finding("Python", tuple(sys.version_info[:3]), PYTHON)
    yield version_finding("TaskFlow", _release(metadata.version("taskflow")), TASKFLOW)
    existing = _existing(_data_place(subject))
    yield disk_finding(existing, shutil.disk_usage(existing).free)
    yield descriptors_finding(resource.getrlimit(resource.RLIMIT_NOFILE)[0], config)
    yield boot_clock_finding(_has_boot_clock())
    yield from name_findings(config, socket.gethostname(), shared=subject.sqlite_file is None)


def _data_place(subject: Subject) -> Path:
    if subject.sqlite_file:
        return Path(subject.sqlite_file).parent
    try:
        return data_directory()
    except ConfigError:  # a user without a home keeps nothing there
        return Path.cwd()


def version_finding(program: str, version: tuple[int, ...], minimum: tuple[int, ...]) -> Finding:
    text, wanted = ".".join(map(str, version)), ".".join(map(str, minimum))
    if version < minimum:
        return report.error(f"{program} {text} is too old.", f"Install {wanted} or later.")
    return report.ok(f"{program} {text}.")


def disk_finding(directory: Path, free: int) -> Finding:
    what = f"{free // MIB} MiB are free in {directory}."
    if free < DISK_FULL_BYTES:
        return report.error(what, "Make room: a full disk stops the store and every job.")
    if free < DISK_LOW_BYTES:
        return report.warning(what, "Make room before the disk is full.")
    return report.ok(what)


def descriptors_finding(limit: int, config: Config) -> Finding:
    """:param limit: how many files a process may have open here; RLIM_INFINITY for any number"""
    needed = DESCRIPTORS_BASE + config.conductor.jobs * DESCRIPTORS_A_JOB + config.persistence.pool_size
    if limit != resource.RLIM_INFINITY and limit < needed:
        return report.warning(
            f"A process may have {limit} files open; {config.conductor.jobs} jobs at once may need {needed}.",
            "Raise it (ulimit -n, or LimitNOFILE= in the service), or lower conductor.jobs.",
        )
    number = "any number of" if limit == resource.RLIM_INFINITY else str(limit)
    return report.ok(f"A process may have {number} files open.")


def boot_clock_finding(there: bool) -> Finding:
    if there:
        return report.ok("There is a clock that goes on while the machine sleeps (CLOCK_BOOTTIME).")
    return report.warning(
        "There is no clock that goes on while the machine sleeps (CLOCK_BOOTTIME).",
        "A conductor notices a lost lease only at its next write then. Use Linux for conductors.",
    )


def name_findings(config: Config, host: str, *, shared: bool) -> Iterator[Finding]:
    """A name that many machines have says nothing about where a job runs. ``shared``: others may use the store."""
    if shared and config.conductor.name is None and host.partition(".")[0] in ("localhost", ""):
        yield report.warning(
            f"This machine's name is {host!r}, and so would be its node's.",
            "Set the host's name, or conductor.name, or use jobrunner run --name NAME.",
        )


def _existing(directory: Path) -> Path:
    directory = directory.absolute()
    return next(place for place in (directory, *directory.parents) if place.is_dir())


def _release(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def _has_boot_clock() -> bool:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return False
    try:
        time.clock_gettime(clock)
    except OSError:
        return False
    return True
