"""Tags: the properties of jobs that are plain values, in a table of their own to search by.

A tag is a property whose value is a text, a number, true or false; numbers and the like are kept as JSON writes them.
Names and values of more than 255 characters, with control characters, or with blanks around them are properties only:
no index holds the former, and not all databases tell the latter from others.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner.model import Json
from jobrunner.names import is_name
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import jobs, tags

TAG_LENGTH = 255
NO_PROPERTIES = "{}"

_JOBS = sa.select(
    sa.bindparam("tag", type_=tags.c.name.type), sa.bindparam("said", type_=tags.c.value.type), jobs.c.seq
).where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)))
_INSERT = Statement(tags.insert().from_select(["name", "value", "job_seq"], _JOBS), many="job_ids")


def insert_tags(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the tags of jobs whose rows are inserted by the same transaction; jobs without properties cost nothing.

    A statement for each tag, however many of the jobs have it, and no round trip of its own.
    """
    tagged: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["properties"] != NO_PROPERTIES:
            for tag in tags_of(json.loads(row["properties"])):
                tagged[tag].append(row["id"])
    for (name, value), job_ids in tagged.items():
        pipeline.add(_INSERT, [{"tag": name, "said": value, "job_ids": job_ids}])


def tags_of(properties: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Names and values of those of the properties that are tags."""
    for name, value in properties.items():
        said = tag_value(value)
        if said is not None and is_name(name, TAG_LENGTH):
            yield name, said


def tag_value(value: Json) -> str | None:
    """A property's value as a tag has it, None if it cannot be one."""
    said = json.dumps(value) if isinstance(value, (bool, int, float)) else value
    return said if isinstance(said, str) and is_name(said, TAG_LENGTH) else None
