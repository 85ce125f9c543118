"""What is told about the machine, by numbers that are passed in."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from jobrunner.config import Config
from jobrunner.jobs.health import Health
from jobrunner.jobs.health.filesystem import filesystem_of, is_network
from jobrunner.jobs.health.machine import (
    MIB,
    boot_clock_finding,
    descriptors_finding,
    disk_finding,
    name_findings,
    version_finding,
)

MOUNTS = r"""/dev/root / ext4 rw 0 0
proc /proc proc rw 0 0
host:/export /srv/my\040data nfs4 rw 0 0
tmpfs /srv/my\040data/fast tmpfs rw 0 0
//host/share /mnt cifs rw 0 0
/dev/sdb /mnt ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x", "ext4"),
        ("/srv/my data/jobs.sqlite", "nfs4"),
        ("/srv/my data", "nfs4"),
        ("/srv/my data/fast/x", "tmpfs"),
        ("/srv/my database", "ext4"),
        ("/mnt/x", "ext4"),
    ],
)
def test_file_system_is_that_of_the_deepest_and_last_mount(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "network"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False), ("overlay", False)],
)
def test_network_file_systems(kind: str, network: bool) -> None:
    assert is_network(kind) is network


@pytest.mark.parametrize(
    ("free", "health"), [(50 * MIB, Health.ERROR), (500 * MIB, Health.WARNING), (5000 * MIB, Health.OK)]
)
def test_disk_space(free: int, health: Health) -> None:
    finding = disk_finding(Path("/data"), free)
    assert finding.health is health
    assert f"{free // MIB} MiB" in finding.what


def test_file_descriptors_have_to_do_for_the_jobs_at_once() -> None:
    many = Config.model_validate({"conductor": {"jobs": 500}})
    assert descriptors_finding(1024, Config()).health is Health.OK
    assert descriptors_finding(1024, many).health is Health.WARNING
    assert descriptors_finding(resource.RLIM_INFINITY, many).health is Health.OK


def test_versions_are_compared_as_numbers() -> None:
    assert version_finding("Python", (3, 9, 20), (3, 10)).health is Health.ERROR
    assert version_finding("Python", (3, 10, 0), (3, 10)).health is Health.OK


def test_missing_clock_is_a_warning() -> None:
    assert boot_clock_finding(False).health is Health.WARNING
    assert boot_clock_finding(True).health is Health.OK


@pytest.mark.parametrize(
    ("name", "host", "shared", "told"),
    [
        (None, "localhost", True, True),
        (None, "localhost.localdomain", True, True),
        (None, "localhost", False, False),
        ("alpha", "localhost", True, False),
        (None, "alpha", True, False),
    ],
)
def test_name_that_every_machine_has(name: str | None, host: str, shared: bool, told: bool) -> None:
    config = Config.model_validate({"conductor": {"name": name}})
    assert bool(list(name_findings(config, host, shared=shared))) is told
