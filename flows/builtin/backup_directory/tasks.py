"""The six atoms of a backup, in the order in which they run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from taskflow import task

from flows.builtin.backup_directory import naming, work
from flows.builtin.backup_directory.archiving import ArchiveWriter, HashingReader, verify_archive
from flows.builtin.backup_directory.manifest import (
    EXCLUDE,
    Meter,
    Patterns,
    Walk,
    merged_notes,
    read_manifest,
)
from flows.builtin.backup_directory.publishing import Trash, place, same_content
from flows.builtin.support.lines import printable
from flows.builtin.support.pacing import Throttle, rate_of
from flows.builtin.support.progress import Progress
from jobrunner.quantities import format_size

Facts = Mapping[str, Any]
"""An atom's recorded result."""


class Scan(task.Task):  # type: ignore[misc]
    """Lists what there is to back up, in a file of a new work directory inside the destination.

    With ``job_id`` in the flow's store, an execution after a crash uses the same work directory, and a revert finds it.
    Without one (under plain TaskFlow) a crash before the first result leaves a work directory with a list in it.
    """

    default_provides = "scanned"

    def execute(
        self,
        source: str,
        destination: str | None = None,
        name: str | None = None,
        exclude: Sequence[str] | None = None,
        job_id: str | None = None,
    ) -> dict[str, Any]:
        progress = Progress(self)
        root = existing_directory(source)
        title = name or naming.default_name(root)
        place_of_archives = destination_of(destination, title)
        if place_of_archives == root:
            raise ValueError(f"the destination is the source itself, {root}; name another directory")
        token = naming.token_of(job_id)
        directory = work.make_work_directory(place_of_archives, token)
        try:
            listed = self._list(
                directory,
                Walk(root, Patterns(EXCLUDE if exclude is None else exclude), place_of_archives),
                progress,
            )
        except BaseException:
            work.remove_tree(directory)
            raise
        work.sync_directory(place_of_archives)
        files, size = listed["files"], listed["bytes"]
        print(
            f"found {files} files, {format_size(size)}, in {printable(str(root))}; {listed['excluded']} excluded"
        )
        progress.report(1.0, f"{files} files, {format_size(size)}")
        return {
            "source": str(root),
            "name": title,
            "destination": str(place_of_archives),
            "destination_inode": place_of_archives.stat().st_ino,
            "work": str(directory),
            "token": token,
            "stamp": naming.stamp_of(datetime.now(timezone.utc)),
            "node": work.this_machine(),
            **listed,
        }

    @staticmethod
    def _list(directory: Path, walk: Walk, progress: Progress) -> dict[str, Any]:
        files = size = 0
        with work.fresh_file(directory, "manifest") as (manifest, out):
            for entry in walk:
                out.write(entry.to_line())
                if entry.kind == "file":
                    files += 1
                    size += entry.size
                    progress.report(0.0, f"{files} files found")
        counts = {"files": files, "bytes": size, "excluded": walk.excluded}
        return {"manifest": manifest, **counts, **walk.skipped.to_json()}

    def revert(
        self,
        result: Any,
        source: str,
        destination: str | None = None,
        name: str | None = None,
        job_id: str | None = None,
        **_: Any,
    ) -> None:
        if isinstance(result, Mapping):
            work.check_reachable(result)
            work.remove_tree(Path(result["work"]))
        elif job_id is not None:
            title = name or naming.default_name(Path(source).resolve())
            work.remove_tree(work.work_directory(destination_of(destination, title), naming.token_of(job_id)))


class Archive(task.Task):  # type: ignore[misc]
    """Writes the archive into the work directory, with a list of what it holds."""

    default_provides = "archived"

    def execute(self, scanned: Facts, compression: str = "gz", max_rate: str | None = None) -> dict[str, Any]:
        directory = work.open_work(scanned)
        progress = Progress(self)
        source = Path(scanned["source"])
        meter = Meter(progress.report, size=scanned["bytes"], files=scanned["files"])
        with (
            work.fresh_file(directory, "contents") as (contents, listing),
            work.fresh_file(directory, "archive") as (file, out),
        ):
            writer = ArchiveWriter(
                out,
                listing,
                source=source,
                top=source.name or "root",
                compression=compression,
                throttle=Throttle(rate_of(max_rate)),
            )
            writer.write(read_manifest(directory / scanned["manifest"]), meter)
        size = (directory / file).stat().st_size
        summary = (
            f"{writer.counts['files']} files, {format_size(writer.counts['bytes'])} in {format_size(size)}"
        )
        print(f"archived {summary}; {writer.skipped.count} skipped, {writer.changed.count} changed meanwhile")
        progress.report(1.0, summary)
        notes = {**writer.skipped.to_json(), **writer.changed.to_json()}
        return {"file": file, "contents": contents, "size": size, **writer.counts, **notes}

    def revert(self, scanned: Facts, result: Any, **_: Any) -> None:
        work.check_reachable(scanned)
        work.discard(Path(scanned["work"]), "archive")
        work.discard(Path(scanned["work"]), "contents")


class Checksum(task.Task):  # type: ignore[misc]
    """Computes the archive's SHA-256 from the disk, and writes the file that will stand beside it."""

    default_provides = "checksummed"

    def execute(
        self, scanned: Facts, archived: Facts, compression: str = "gz", max_rate: str | None = None
    ) -> dict[str, Any]:
        directory = work.open_work(scanned)
        progress = Progress(self)
        with open(directory / archived["file"], "rb") as file:
            meter = Meter(progress.report, size=archived["size"], message="computing the checksum")
            sha256 = HashingReader(file, Throttle(rate_of(max_rate)), meter).drain()
        final = naming.archive_name(scanned["name"], scanned["stamp"], scanned["token"], compression)
        with work.fresh_file(directory, "checksum") as (sidecar, out):
            out.write(naming.sidecar_text(sha256, final).encode())
        print(f"sha256 {sha256}")
        progress.report(1.0, f"sha256 {sha256}")
        return {"sha256": sha256, "sidecar": sidecar, "final": final}

    def revert(self, scanned: Facts, result: Any, **_: Any) -> None:
        work.check_reachable(scanned)
        work.discard(Path(scanned["work"]), "checksum")


class Verify(task.Task):  # type: ignore[misc]
    """Reads the archive back and compares every member with what was written; leaves nothing to undo."""

    default_provides = "verified"

    def execute(
        self,
        scanned: Facts,
        archived: Facts,
        checksummed: Facts,
        compression: str = "gz",
        max_rate: str | None = None,
    ) -> dict[str, Any]:
        directory = work.open_work(scanned)
        progress = Progress(self)
        archive = directory / archived["file"]
        with open(archive, "rb") as file:
            meter = Meter(progress.report, size=archived["size"], message="reading back")
            reader = HashingReader(file, Throttle(rate_of(max_rate)), meter)
            contents, sha256 = directory / archived["contents"], checksummed["sha256"]
            members = verify_archive(archive, contents, compression=compression, sha256=sha256, reader=reader)
        print(f"verified {members} members of the archive")
        progress.report(1.0, f"{members} members as written")
        return {"members": members, "sha256": checksummed["sha256"]}


class Publish(task.Task):  # type: ignore[misc]
    """Gives the archive and its checksum's file their final names; the archive's comes last."""

    default_provides = "published"

    def execute(self, scanned: Facts, archived: Facts, checksummed: Facts, verified: Facts) -> dict[str, Any]:
        directory = work.open_work(scanned)
        archive = Path(scanned["destination"]) / checksummed["final"]
        for file, final in final_names(scanned, archived, checksummed):
            if not self._is_placed(directory / file, final, archived, checksummed):
                place(directory / file, final)
        work.sync_directory(archive.parent)
        print(f"published {printable(str(archive))}")
        return {"archive": str(archive), "size": archived["size"], "sha256": verified["sha256"]}

    def revert(self, scanned: Facts, archived: Facts, checksummed: Facts, result: Any, **_: Any) -> None:
        work.check_reachable(scanned)
        directory = Path(scanned["work"])
        for file, final in reversed(final_names(scanned, archived, checksummed)):
            if self._is_placed(directory / file, final, archived, checksummed):
                final.unlink()
        work.sync_directory(Path(scanned["destination"]))

    @staticmethod
    def _is_placed(file: Path, final: Path, archived: Facts, checksummed: Facts) -> bool:
        """Whether the final name is that of our file; the work file may be gone, without links or after the end."""
        if not final.is_file() or final.is_symlink():
            return False
        if file.exists():
            return same_content(file, final)
        if final.name.endswith(naming.SIDECAR_SUFFIX):
            return (
                final.read_bytes()
                == naming.sidecar_text(checksummed["sha256"], checksummed["final"]).encode()
            )
        return bool(final.stat().st_size == archived["size"] and file_sha256(final) == checksummed["sha256"])


class Prune(task.Task):  # type: ignore[misc]
    """Removes the oldest archives of the same name beyond ``keep``, then the work directory, and sums the backup up.

    The archive made just now stays whatever the clocks say. An old one that cannot be removed is told and no reason
    to throw the new one away.
    """

    default_provides = "backup"

    def execute(
        self,
        scanned: Facts,
        archived: Facts,
        checksummed: Facts,
        published: Facts,
        keep: int = 7,
    ) -> dict[str, Any]:
        destination = Path(scanned["destination"])
        if not Path(published["archive"]).exists():
            work.open_work(scanned)
            raise work.WorkFilesMissing(
                f"{published['archive']} was published and is gone; nothing was pruned"
            )
        others = [
            own
            for own in naming.own_archives(destination, scanned["name"])
            if own.file != checksummed["final"]
        ]
        trash = Trash(destination, scanned["token"])
        stuck = trash.take(others[: max(0, len(others) - (keep - 1))])
        pruned = archives_among(trash.commit())
        work.remove_tree(Path(scanned["work"]))
        print(
            f"removed {len(pruned)} old archives, kept {len(naming.own_archives(destination, scanned['name']))}"
        )
        return {
            "archive": published["archive"],
            "size": published["size"],
            "sha256": published["sha256"],
            "files": archived["files"],
            "bytes": archived["bytes"],
            "excluded": scanned["excluded"],
            **merged_notes("skipped", scanned, archived),
            **merged_notes("changed", archived),
            "pruned": pruned,
            "not_pruned": stuck,
        }

    def revert(self, scanned: Facts, published: Facts, result: Any, **_: Any) -> None:
        work.check_reachable(scanned)
        gone = archives_among(Trash(Path(scanned["destination"]), scanned["token"]).give_back())
        if isinstance(result, Mapping):
            gone = list(result["pruned"])
        if gone:
            work.remove_tree(Path(scanned["work"]))
            raise work.CannotUndo(
                f"old archives are deleted already, {', '.join(gone)}, so the new one stays: {published['archive']}"
            )


def existing_directory(source: str) -> Path:
    """The source as an absolute path; raises NotADirectoryError if it is none on this machine."""
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise NotADirectoryError(
            f"cannot back up {root}: not a directory on this machine ({work.this_machine()})"
        )
    return root


def destination_of(destination: str | None, name: str) -> Path:
    """Where the archives go, as an absolute path."""
    if destination is None:
        return naming.default_destination(name).resolve()
    return Path(destination).expanduser().resolve()


def archives_among(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.endswith(naming.SIDECAR_SUFFIX)]


def final_names(scanned: Facts, archived: Facts, checksummed: Facts) -> list[tuple[str, Path]]:
    """Work files and the names that they get, in the order of publishing."""
    final = Path(scanned["destination"]) / checksummed["final"]
    sidecar = final.with_name(final.name + naming.SIDECAR_SUFFIX)
    return [(checksummed["sidecar"], sidecar), (archived["file"], final)]


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1024 * 1024):
            digest.update(data)
    return digest.hexdigest()
