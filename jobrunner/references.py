"""Results of one job as parameters of another: references that stand in a posting until the results are there.

    {"$result": "<id of a job, or number of an earlier posting>", "path": "port"}

A reference may be a parameter's whole value or stand within it. The path leads into the job's result, which has a part
for each name that its flow provides: names and, in lists, numbers, with dots between them; without one the result as a
whole is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobrunner.errors import InvalidParameters

Json = Any

RESULT = "$result"
PATH = "path"
LEFT_OUT = "see the atom's result)"
"""How that ends which stands in a job's result in place of a part that is too large for it."""
SHOWN_NAMES = 10
WRITTEN = re.compile(r"@(\d{1,3}|[0-9a-f]{8}[0-9a-f-]*)(?:\.(.+))?")
"""A reference on a command line: ``@1.port`` is of the result of the command's first job, or (``@1f00d5ee.port``) of
that of the job with that id. There ``@@`` stands for an ``@``."""
DEPTH_LIMIT = 40
"""Deeper than what is accepted in a posting; what is nested more deeply is refused for that."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference says: of which job, and which part of its result."""

    job: str | int
    path: str = ""

    def to_json(self) -> dict[str, Json]:
        return {RESULT: self.job, PATH: self.path} if self.path else {RESULT: self.job}


def read(value: Json) -> Reference | None:
    """The reference that this very value is; None if it is something else.

    Raises InvalidParameters for an object that means to be one and is not.
    """
    if not isinstance(value, Mapping) or RESULT not in value:
        return None
    job, path = value[RESULT], value.get(PATH, "")
    known = isinstance(job, (str, int)) and not isinstance(job, bool)
    if not known or not isinstance(path, str) or set(value) - {RESULT, PATH}:
        raise InvalidParameters(
            f"{dict(value)!r:.100} is no reference to a result",
            hint='it looks like {"$result": "<id of a job>", "path": "<name that its flow provides>"}',
        )
    return Reference(job, path)


def references(value: Json, depth: int = 0) -> Iterator[Reference]:
    """All references within a value; not those deeper than any value may be nested."""
    found = read(value)
    if found is not None:
        yield found
    elif isinstance(value, (Mapping, list, tuple)) and depth < DEPTH_LIMIT:
        for inner in value.values() if isinstance(value, Mapping) else value:
            if isinstance(inner, (Mapping, list, tuple)):
                yield from references(inner, depth + 1)


def has_references(value: Json) -> bool:
    """Whether there is one within the value."""
    return any(True for _ in references(value))


def replaced(value: Json, by: Callable[[Reference], Json]) -> Json:
    """A copy of the value with ``by``'s answers in place of its references."""
    found = read(value)
    if found is not None:
        return by(found)
    if isinstance(value, Mapping):
        return {name: replaced(inner, by) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(inner, by) for inner in value]
    return value


def part_of(result: Json, path: str) -> Json:
    """The part of a job's result to which the path leads; LookupError, in words, if there is none."""
    found, left = result, path
    while left:
        found, left = _step(found, left)
    if _is_left_out(found):
        raise LookupError(
            "is too large to be kept with the job; let the job put it where others can read it, and return where"
        )
    return found


def _step(value: Json, path: str) -> tuple[Json, str]:
    """One step along the path, and what is left of it; a name may have dots in it, so the longest is tried first."""
    names = path.split(".")
    for end in range(len(names), 0, -1):
        name, left = ".".join(names[:end]), ".".join(names[end:])
        if isinstance(value, Mapping) and name in value:
            return value[name], left
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            return value[int(name)], left
    raise LookupError(f"has no part {path!r}; {_parts(value)}")


def _parts(value: Json) -> str:
    if isinstance(value, list):
        return f"it is a list of {len(value)}"
    if not isinstance(value, Mapping):
        return "it is empty" if value is None else f"it is {value!r:.60}"
    names = list(value)
    more = ", ..." if len(names) > SHOWN_NAMES else ""
    return f"it has {', '.join(names[:SHOWN_NAMES])}{more}" if names else "it is empty"


def _is_left_out(value: Json) -> bool:
    return isinstance(value, str) and value.startswith("(") and value.endswith(LEFT_OUT)
