"""The bounds of what crosses a border: plain JSON, 256 KiB in all, 32 levels deep, text without control
characters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from jobrunner.errors import InvalidParameters, PostingTooLarge
from jobrunner.model import Json

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
SHOWN_CHARACTERS = 60

# Tab, line feed and carriage return are text; lone surrogates cannot be encoded, NUL is refused by databases.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def check_json(value: object, what: str) -> Json:
    """A copy of the value that is plain JSON (tuples become lists); else InvalidParameters, which begins with
    ``what``.
    """
    check_shape(value, what)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidParameters(f"{what} cannot be stored as JSON: {error}") from None


def check_shape(value: object, what: str, depth: int = 1) -> None:
    """Refuse what is nested too deeply, NaN and infinity, keys that are not text, and control characters.

    Values that are not JSON are let through: they may still have a type that turns them into it.
    """
    if isinstance(value, str):
        check_text(value, what)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameters(f"{what} holds {value}, which JSON cannot: only finite numbers can be stored")
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if depth > MAX_DEPTH:
            raise InvalidParameters(f"{what} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            for key in value:
                check_key(key, what)
        for item in value.values() if isinstance(value, Mapping) else value:
            check_shape(item, what, depth + 1)


def check_key(key: object, what: str) -> None:
    if not isinstance(key, str):
        raise InvalidParameters(f"{what} has the key {shorten(key)}: keys have to be text")
    check_text(key, what)


def check_text(text: str, what: str) -> None:
    if found := _NOT_TEXT.search(text):
        why = "control characters cannot be stored" if found[0] < "\ud800" else "it is not valid UTF-8"
        raise InvalidParameters(
            f"{what} has the character U+{ord(found[0]):04X} at position {found.start() + 1}: {why}"
        )


def check_size(value: Json, what: str) -> None:
    """PostingTooLarge if the value takes more than 256 KiB as JSON."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        raise too_large(what, size)


def too_large(what: str, size: int) -> PostingTooLarge:
    return PostingTooLarge(
        f"{what} would take {size:,} bytes, and the limit is {MAX_BYTES:,} bytes (256 KiB)",
        hint="put large data where every node can read it, and post its path or address",
    )


def shorten(value: object) -> str:
    """The value as people see it in a message: never longer than a line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        text = f"<{type(value).__name__}>"
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[: SHOWN_CHARACTERS - 20]}... ({len(text):,} characters)"
