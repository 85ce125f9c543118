"""JSON as the store keeps it: compact text, checked before it is accepted, bounded in size.

What cannot be written and read back unchanged is refused here, with the place where it stands, rather than found out
when a flow resumes on another machine.
"""

from __future__ import annotations

import json
import math
from typing import Any

from jobrunner.errors import CorruptRow, NotStorable

RESULT_LIMIT_BYTES = 7 * 1024 * 1024
"""The largest result of one atom.

A packet of MariaDB's default size (16 MiB) holds it with room for the rest, even if every character has to be escaped.
"""
BRIEF_LIMIT_BYTES = 64 * 1024
"""The largest result or error that is kept with the job's own row."""
DEPTH_LIMIT = 100

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode(value: Any, *, what: str = "The value", limit: int = RESULT_LIMIT_BYTES) -> str:
    """``value`` as JSON text; raises NotStorable, naming the place, if it is not JSON, too deep or too large.

    The text is ASCII: on MariaDB TaskFlow's columns cannot hold every character. ``limit`` is in bytes of that.
    """
    try:
        text = _ENCODER.encode(value)
        if "\\ud" in text:  # a surrogate: half of a character is no text, and PostgreSQL refuses it
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise NotStorable(
            f"{what} cannot be stored as JSON: {_find_fault(value) or error}.",
            hint="Return strings, numbers, booleans, None, and lists and dictionaries of those.",
        ) from error
    if len(text) > limit:
        raise NotStorable(
            f"{what} is too large to be stored: {len(text):,} bytes, and at most {limit:,} are allowed.",
            hint="Keep large data in a file or an object store, and return where it is.",
        )
    return text


def decode(text: str | None, *, what: str = "The row") -> Any:
    """The value of JSON text from the store; raises CorruptRow if it is not JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptRow(f"{what} holds text that is not JSON: {text[:60]!r}.") from error


def clip(text: str, limit: int = BRIEF_LIMIT_BYTES) -> str:
    """``text`` with its middle left out if it is longer than ``limit`` bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8")
    half = limit // 2 - 40
    if half <= 0:
        return data[:limit].decode("utf-8", "ignore")
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n... {len(data) - 2 * half:,} bytes left out ...\n{tail}"


def clean(text: str) -> str:
    """``text`` with what some database cannot hold, NULs and lone surrogates, made visible."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\0")


def _find_fault(value: Any, place: str = "", depth: int = 0) -> str | None:
    where = f" at {place}" if place else ""
    if depth > DEPTH_LIMIT:
        return f"it is nested more than {DEPTH_LIMIT} levels deep"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if _has_digits(value) else f"a whole number{where} of more digits than Python writes down"
    if isinstance(value, str):
        return (
            None
            if value.isprintable() or not _lone_surrogate(value)
            else f"text that is not valid Unicode{where}"
        )
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value}{where} is no number in JSON"
    if isinstance(value, dict):
        for key, item in value.items():
            if fault := _find_fault(item, f"{place}[{key!r}]", depth + 1):
                return fault
        return None
    if isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            if fault := _find_fault(item, f"{place}[{number}]", depth + 1):
                return fault
        return None
    return f"a {type(value).__name__}{where} is not JSON"


def _has_digits(number: int) -> bool:
    try:
        return bool(int.__repr__(number))
    except ValueError:  # more than sys.get_int_max_str_digits()
        return False


def _lone_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)
