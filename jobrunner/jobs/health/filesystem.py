"""On what kind of file system a file lies, by /proc/mounts."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/mounts")

NETWORK = frozenset(
    (
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "gfs2",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
        ),
        *("ocfs2", "orangefs", "smb2", "smb3", "smbfs", "virtiofs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    )
)


def is_network(kind: str) -> bool:
    """Whether several machines (or a guest and its host) share file systems of this kind."""
    return kind in NETWORK


def filesystem_of(path: Path, mounts: str | None = None) -> str | None:
    """The kind of file system on which ``path`` lies, or will lie; None if that cannot be told here."""
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    wanted = path.resolve()
    best, kind = -1, None
    for line in mounts.splitlines():
        _, place, found, *_ = line.split(" ")
        mount = Path(_unescape(place))
        # The last of several mounts at one place covers the others.
        if (mount == wanted or mount in wanted.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), found
    return kind


def _unescape(place: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
