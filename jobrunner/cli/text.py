"""Values as people read them: text without control characters, durations, times.

Nothing that came out of a job may act on somebody's terminal: every text from a row goes through :func:`clean` or
:func:`clean_lines` before it is printed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import datetime
from typing import Any

# C0 and C1 controls, line and paragraph separators, what reverses the direction of writing, and lone surrogates.
_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROLS = re.compile(f"[{_UNSAFE}]")
_CONTROLS_IN_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_JSON_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(value: object) -> str:
    """One line: whatever would act on a terminal is shown as an escape (``\\x1b``), line ends too."""
    return _CONTROLS.sub(_escaped, str(value))


def clean_lines(text: str) -> str:
    """Text of several lines: colours are left out, a bare carriage return ends a line, other controls are escaped."""
    text = _COLOURS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS_IN_LINES.sub(_escaped, text)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON that is safe to print: what JSON leaves as it is but a terminal obeys is escaped.

    Numbers that JSON has no word for, which only a row that somebody else wrote can hold, become text.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        finite = json.loads(json.dumps(value, default=str), parse_constant=str)
        text = json.dumps(finite, indent=indent, ensure_ascii=False)
    return _JSON_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def brief_json(value: Any, limit: int = 200) -> str:
    """A value in one line, cut at ``limit`` characters; text without quotes."""
    text = clean(value if isinstance(value, str) else to_json(value, indent=None))
    return shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration(seconds: float | None) -> str:
    """Two units at most: ``0.4s``, ``12s``, ``3m05s``, ``2h03m``, ``4d02h``; empty for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def between(start_ms: int | None, end_ms: int | None, now_ms: int) -> float | None:
    """Seconds from a start to an end, or to now while there is none; None if it has not started."""
    if start_ms is None:
        return None
    return ((now_ms if end_ms is None else end_ms) - start_ms) / 1000


def moment(at_ms: int | None) -> str:
    """A time in the local zone, to the second; empty for None."""
    if at_ms is None:
        return ""
    try:
        return datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a corrupt row's idea of a time
        return f"{at_ms} ms"


def ago(at_ms: int, now_ms: int) -> str:
    """``3m05s ago``, or ``in 3m05s``."""
    if at_ms > now_ms:
        return f"in {duration((at_ms - now_ms) / 1000)}"
    return f"{duration((now_ms - at_ms) / 1000)} ago"


def width(text: str) -> int:
    """Columns that a terminal needs for it: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    names = {9: "\\t", 10: "\\n", 13: "\\r"}
    return names.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
