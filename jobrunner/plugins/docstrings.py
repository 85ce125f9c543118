"""What a factory's docstring says: its first paragraph, and help for each parameter.

Two conventions are read: an ``Args:`` section (Google's style) and ``:param name: text`` fields (Sphinx).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

_SECTION = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_FIELD = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")


def first_paragraph(docstring: str | None) -> str:
    """The first paragraph as one line; empty if there is none."""
    paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
    if _SECTION.match(paragraph) or _FIELD.match(paragraph):
        return ""
    return " ".join(paragraph.split())


def parameter_help(docstring: str | None) -> dict[str, str]:
    """The text about each parameter that the docstring describes, by the parameter's name."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    return _from_section(lines) | _from_fields(lines)


def _from_section(lines: list[str]) -> dict[str, str]:
    start = next((number for number, line in enumerate(lines) if _SECTION.fullmatch(line)), None)
    if start is None:
        return {}
    section = []
    for line in lines[start + 1 :]:
        if line and not line.startswith((" ", "\t")):
            break
        section.append(line)
    base = min((_indent(line) for line in section if line.strip()), default=0)
    return _gather(section, _ARGUMENT, lambda line: _indent(line) == base)


def _from_fields(lines: list[str]) -> dict[str, str]:
    return _gather(lines, _FIELD, lambda line: line.lstrip().startswith(":"))


def _gather(lines: list[str], entry: re.Pattern[str], starts: Callable[[str], bool]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    indent = 0
    for line in lines:
        match = entry.fullmatch(line.strip()) if starts(line) else None
        if match:
            current, indent = found.setdefault(match[1], [match[2]]), _indent(line)
        elif not line.strip() or _indent(line) <= indent:
            current = None
        elif current is not None:
            current.append(line.strip())
    return {name: " ".join(part for part in text if part) for name, text in found.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
