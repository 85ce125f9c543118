"""Writing the archive, and reading it back."""

from __future__ import annotations

import grp
import gzip
import hashlib
import json
import lzma
import os
import pwd
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from flows.builtin.backup_directory.manifest import Entry, Meter, Notes, why
from flows.builtin.support.lines import printable
from flows.builtin.support.pacing import Throttle

_COPY_BYTES = 256 * 1024
_WRITE_MODES: dict[str, tuple[str, dict[str, int]]] = {
    "gz": ("w:gz", {"compresslevel": 6}),
    "xz": ("w:xz", {"preset": 6}),
    "none": ("w:", {}),
}
_UNREADABLE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, UnicodeError, ValueError)


class VerificationFailed(Exception):
    """What is read back from the archive is not what was put into it."""


class MemberReader:
    """Reads exactly ``size`` bytes of a file, as a tar header promised them, and hashes what it gives.

    A file that shrinks or breaks meanwhile is filled up with zeros, so that the archive stays valid, and
    ``problem`` says so.
    """

    def __init__(self, file: IO[bytes], size: int, throttle: Throttle, meter: Meter) -> None:
        self._file = file
        self._left = size
        self._throttle = throttle
        self._meter = meter
        self._digest = hashlib.sha256()
        self.problem: str | None = None

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, or what is left: never fewer, tarfile takes a short read for the end."""
        data = bytearray()
        while (wanted := min(size - len(data), self._left, self._throttle.chunk_bytes)) > 0:
            piece = self._get(wanted) or bytes(wanted)
            self._left -= len(piece)
            self._throttle.took(len(piece))
            self._meter.add(len(piece))
            data += piece
        self._digest.update(data)
        return bytes(data)

    def _get(self, wanted: int) -> bytes:
        if self.problem is not None:
            return b""
        try:
            data = self._file.read(wanted)
        except OSError as error:
            self.problem = f"cannot be read to its end ({why(error)}); filled up with zeros"
            return b""
        if not data:
            self.problem = "became shorter while it was read; filled up with zeros"
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class ArchiveWriter:
    """Writes entries of ``source`` into a tar file, under the directory ``top``.

    A line on each goes into ``contents``, for the comparison when the archive is read back.
    """

    def __init__(
        self,
        out: IO[bytes],
        contents: IO[bytes],
        *,
        source: Path,
        top: str,
        compression: str,
        throttle: Throttle,
    ) -> None:
        mode, options = _WRITE_MODES[compression]
        open_tar: Any = tarfile.open
        self._tar = open_tar(
            fileobj=out, mode=mode, format=tarfile.PAX_FORMAT, copybufsize=_COPY_BYTES, **options
        )
        self._contents = contents
        self._source = source
        self._top = top
        self._throttle = throttle
        self.skipped = Notes("skipped")
        self.changed = Notes("changed")
        self.counts = {"files": 0, "directories": 0, "links": 0, "bytes": 0}

    def write(self, entries: Iterable[Entry], meter: Meter) -> None:
        """Write them all; a file that is gone or cannot be read is noted and left out."""
        add = {"file": self._add_file, "dir": self._add_directory, "link": self._add_link}
        with self._tar:
            for entry in entries:
                if entry.kind == "file":
                    meter.begin(entry.path)
                try:
                    add[entry.kind](entry, meter)
                except _Unusable as unusable:
                    self.skipped.add(entry.path, str(unusable))
                self._tar.members.clear()  # tarfile keeps every member in memory otherwise

    def _add_file(self, entry: Entry, meter: Meter) -> None:
        # O_NONBLOCK: since the scan a named pipe may have come into the file's place, and opening that would wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._source / entry.path, flags)
        except OSError as error:
            raise _Unusable(why(error)) from error
        with open(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise _Unusable("is no longer a file")
            reader = MemberReader(file, before.st_size, self._throttle, meter)
            self._put(self._header(entry, before, tarfile.REGTYPE, size=before.st_size), reader)
            after = os.fstat(descriptor)
        problem = reader.problem
        if problem is None and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            problem = "was written to while it was read"
        if problem is not None:
            self.changed.add(entry.path, problem)
        self.counts["files"] += 1
        self.counts["bytes"] += before.st_size

    def _add_directory(self, entry: Entry, meter: Meter) -> None:
        self._put(self._header(entry, self._status(entry, stat.S_IFDIR), tarfile.DIRTYPE))
        self.counts["directories"] += 1

    def _add_link(self, entry: Entry, meter: Meter) -> None:
        header = self._header(entry, self._status(entry, stat.S_IFLNK), tarfile.SYMTYPE)
        try:
            header.linkname = os.readlink(self._source / entry.path)
        except OSError as error:
            raise _Unusable(why(error)) from error
        self._put(header)
        self.counts["links"] += 1

    def _status(self, entry: Entry, kind: int) -> os.stat_result:
        try:
            status = os.lstat(self._source / entry.path)
        except OSError as error:
            raise _Unusable(why(error)) from error
        if stat.S_IFMT(status.st_mode) != kind:
            raise _Unusable("became something else since the scan")
        return status

    def _header(self, entry: Entry, status: os.stat_result, kind: bytes, size: int = 0) -> tarfile.TarInfo:
        header = tarfile.TarInfo(f"{self._top}/{entry.path}" if entry.path else self._top)
        header.type, header.size, header.mode = kind, size, stat.S_IMODE(status.st_mode)
        header.mtime = status.st_mtime  # pax headers hold fractions of a second
        header.uid, header.gid = status.st_uid, status.st_gid
        header.uname, header.gname = _user(status.st_uid), _group(status.st_gid)
        return header

    def _put(self, header: tarfile.TarInfo, reader: MemberReader | None = None) -> None:
        self._tar.addfile(header, reader)
        line = _describe(header, None if reader is None else reader.sha256)
        self._contents.write(json.dumps(line).encode("ascii") + b"\n")


class _Unusable(Exception):
    """The entry cannot be archived; the others can."""


class HashingReader:
    """Passes a file's bytes on, hashing them, and holding to the rate."""

    def __init__(self, file: IO[bytes], throttle: Throttle, meter: Meter) -> None:
        self._file = file
        self._throttle = throttle
        self._meter = meter
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._throttle.chunk_bytes
        data = self._file.read(chunk if size < 0 else min(size, chunk))
        self._digest.update(data)
        self._throttle.took(len(data))
        self._meter.add(len(data))
        return data

    def drain(self) -> str:
        """Read what is left; return the checksum of all."""
        while self.read():
            pass
        return self._digest.hexdigest()


def verify_archive(
    archive: Path, contents: Path, *, compression: str, sha256: str, reader: HashingReader
) -> int:
    """Read the archive back, comparing each member with what was written; return their number.

    Raises VerificationFailed.
    """
    try:
        count = _compare(_plain(reader, compression), contents)
    except _UNREADABLE as error:
        raise VerificationFailed(
            f"{archive.name} cannot be read back: {str(error) or type(error).__name__}"
        ) from error
    found = reader.drain()
    if found != sha256:
        raise VerificationFailed(f"{archive.name} has the checksum {found}, and had {sha256} just before")
    return count


def _compare(plain: Any, contents: Path) -> int:
    count = 0
    with open(contents, "rb") as lines, tarfile.open(fileobj=plain, mode="r|") as tar:
        members = _members(tar)
        for line in lines:
            expected = json.loads(line)
            found = next(members, None)
            if found is None:
                raise VerificationFailed(f"the archive ends before {printable(expected['name'])}")
            if found != expected:
                raise VerificationFailed(
                    f"{printable(expected['name'])} is not in the archive as it was written"
                )
            count += 1
        if next(members, None) is not None:
            raise VerificationFailed("the archive holds more than was written")
    while plain.read(_COPY_BYTES):  # to the end, where compressed files have checks of their own
        pass
    return count


def _plain(reader: HashingReader, compression: str) -> Any:
    if compression == "gz":
        return gzip.GzipFile(fileobj=reader, mode="rb")  # type: ignore[call-overload]
    if compression == "xz":
        return lzma.LZMAFile(reader)  # type: ignore[arg-type]
    return reader


def _members(tar: tarfile.TarFile) -> Iterator[dict[str, Any]]:
    while (header := tar.next()) is not None:
        yield _describe(header, _hash_of(tar, header) if header.isreg() else None)
        tar.members.clear()  # type: ignore[attr-defined]


def _hash_of(tar: tarfile.TarFile, header: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    file = tar.extractfile(header)
    assert file is not None
    while data := file.read(_COPY_BYTES):
        digest.update(data)
    return digest.hexdigest()


def _describe(header: tarfile.TarInfo, sha256: str | None) -> dict[str, Any]:
    """A member in the form in which it is noted when written, and compared when read back."""
    return {
        "name": header.name,
        "type": header.type.decode("ascii"),
        "mode": header.mode,
        "size": header.size,
        "link": header.linkname,
        "sha256": sha256,
    }


@lru_cache(maxsize=256)
def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return ""


@lru_cache(maxsize=256)
def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""
