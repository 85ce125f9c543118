"""A program's output as lines of text that are safe to keep and to show."""

from __future__ import annotations

MAX_LINE_BYTES = 8 * 1024


def clean(data: bytes) -> str:
    """Decode bytes as UTF-8; what is not text, NUL included, becomes the replacement character.

    NUL is valid UTF-8 but not every database holds it.
    """
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def printable(path: str) -> str:
    """Write a file's name so that it can be stored and printed: bytes that are not UTF-8 are escaped."""
    return (
        path.encode("utf-8", errors="surrogateescape")
        .decode("utf-8", errors="backslashreplace")
        .replace("\0", "")
    )


class Lines:
    """Cuts a stream of bytes into lines of at most ``limit`` bytes; of a longer one the rest is counted, not kept."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> list[str]:
        """Take the next bytes; return the lines that they complete."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._append(part)
            lines.append(self._take())
        self._append(rest)
        return lines

    def flush(self) -> list[str]:
        """The last line, if it did not end."""
        return [self._take()] if self._line or self._dropped else []

    def _append(self, part: bytes) -> None:
        room = self._limit - len(self._line)
        self._line += part[:room]
        self._dropped += max(0, len(part) - room)

    def _take(self) -> str:
        text = clean(bytes(self._line)).rstrip("\r")
        if self._dropped:
            text += f" [... {self._dropped} more bytes]"
        self._line.clear()
        self._dropped = 0
        return text


class Tail:
    """Keeps the last ``limit`` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > 2 * self._limit:
            del self._data[: -self._limit]

    @property
    def text(self) -> str:
        return clean(bytes(self._data[-self._limit :]))
