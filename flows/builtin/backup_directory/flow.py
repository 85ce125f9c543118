"""The job type that backs up a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from taskflow.patterns import linear_flow

from flows.builtin.backup_directory.manifest import EXCLUDE
from flows.builtin.backup_directory.naming import checked_name
from flows.builtin.backup_directory.tasks import Archive, Checksum, Prune, Publish, Scan, Verify
from flows.builtin.support.pacing import rate_of
from jobrunner import job


@job()
def backup_directory(
    source: Path,
    destination: Path | None = None,
    name: str | None = None,
    keep: int = 7,
    compression: Literal["gz", "xz", "none"] = "gz",
    exclude: list[str] = EXCLUDE,
    max_rate: str | None = None,
) -> linear_flow.Flow:
    """Back up a directory into a dated archive, verify it, and keep the newest few.

    The archive gets its name only when it is whole and was read back; beside it stands a file for sha256sum.
    Symbolic links are archived as links, and the destination is left out if it is inside the source. Files that
    vanish, cannot be read or change meanwhile are told in the result.

    Args:
        source: the directory to back up
        destination: where the archives go; by default jobrunner/backups/<name> in the user's data directory
        name: what the archives' names begin with; by default the source's name
        keep: how many archives of that name stay, the new one included
        compression: how the archive is compressed
        exclude: patterns of what to leave out: of names, or of paths below the source if there is a slash in them;
            one that ends in a slash is for directories only
        max_rate: how much to read in a second at most, such as 5MiB; by default as fast as it goes
    """
    if keep < 1:
        raise ValueError(f"keep: {keep} is less than 1, and the new archive itself has to stay")
    if name is not None:
        checked_name(name)
    rate_of(max_rate)
    return linear_flow.Flow("backup_directory").add(
        Scan("scan"),
        Archive("archive"),
        Checksum("checksum"),
        Verify("verify"),
        Publish("publish"),
        Prune("prune"),
    )
