"""What a name may look like that somebody gives to a thing: short, in one line, and the same on every database.

MySQL takes names that differ in trailing blanks for one, PostgreSQL has no text with a NUL, and a terminal obeys
control characters.
"""

from __future__ import annotations

import re

_NEVER_STORED = re.compile("[\0\ud800-\udfff]")
"""NUL, and what Python makes of bytes on a command line that are not UTF-8."""


def is_line(text: object, most: int) -> bool:
    """Whether it is a text of 1 to ``most`` printable characters, not all of them blanks."""
    return isinstance(text, str) and 0 < len(text) <= most and text.isprintable() and not text.isspace()


def is_name(text: object, most: int) -> bool:
    """Whether it is such a text, with no blanks around it."""
    return is_line(text, most) and text == str(text).strip()


def may_be_stored(text: str) -> bool:
    """Whether a database takes the text; what has this name, or holds it, can be looked for only then."""
    return not _NEVER_STORED.search(text)
