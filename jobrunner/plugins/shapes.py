"""What a parameter looks like from outside: how it is written on a command line, and what is expected of it.

Shapes are told from annotations with ``typing`` alone, so that printing help does not need pydantic.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from jobrunner.quantities import DURATION_EXPECTED


class Kind(enum.Enum):
    """How a value is written on the command line."""

    TEXT = "text"  # as it is; the type reads it
    FLAG = "flag"  # --name or --no-name
    CHOICE = "choice"  # one of a few words
    PATH = "path"  # a path; relative ones are the poster's
    LIST = "list"  # several values
    DOCUMENT = "document"  # JSON, or @file with JSON


@dataclass(frozen=True, kw_only=True)
class Shape:
    kind: Kind
    expected: str
    metavar: str = "VALUE"
    optional: bool = False
    choices: tuple[str, ...] = ()
    """CHOICE: what is shown."""
    accepted: tuple[str, ...] = ()
    """CHOICE: all that is understood."""
    item: Shape | None = None
    """LIST: what each value looks like."""
    unordered: bool = False


SIMPLE: Mapping[object, Shape] = {
    str: Shape(kind=Kind.TEXT, expected="text", metavar="TEXT"),
    int: Shape(kind=Kind.TEXT, expected="a whole number", metavar="NUMBER"),
    float: Shape(kind=Kind.TEXT, expected="a number", metavar="NUMBER"),
    bool: Shape(kind=Kind.FLAG, expected="true or false"),
    datetime: Shape(
        kind=Kind.TEXT,
        expected="a time such as 2026-01-31T12:00 (in the local time zone) or 2026-01-31T12:00:00+01:00",
        metavar="TIME",
    ),
    date: Shape(kind=Kind.TEXT, expected="a date such as 2026-01-31", metavar="DATE"),
    time: Shape(kind=Kind.TEXT, expected="a time of day such as 12:00", metavar="TIME"),
    timedelta: Shape(kind=Kind.TEXT, expected=DURATION_EXPECTED, metavar="DURATION"),
    Any: Shape(kind=Kind.TEXT, expected="any JSON value"),
}
LISTS = (list, tuple, collections.abc.Sequence)
SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)


def shape_of(annotation: Any) -> Shape:
    """The shape of values of that type."""
    annotation = bare(annotation)
    if is_union(annotation):
        return _union(get_args(annotation))
    if simple := _simple(annotation):
        return simple
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return _choice([str(value) for value in get_args(annotation)])
    if origin in LISTS or origin in SETS:
        return _list(get_args(annotation), unordered=origin in SETS)
    if isinstance(origin, type):
        return _class(origin)
    return Shape(kind=Kind.TEXT, expected="a value of its type")


def bare(annotation: Any) -> Any:
    """The annotation without what is wrapped around it: Annotated, NewType, type aliases."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _simple(annotation: Any) -> Shape | None:
    try:
        return SIMPLE.get(annotation)
    except TypeError:  # an annotation with unhashable metadata
        return None


def _union(members: tuple[Any, ...]) -> Shape:
    shapes = [shape_of(member) for member in members if member is not type(None)]
    optional = type(None) in members
    if len(shapes) == 1:
        return dataclasses.replace(shapes[0], optional=optional or shapes[0].optional)
    only_documents = all(shape.kind is Kind.DOCUMENT for shape in shapes)
    return Shape(
        kind=Kind.DOCUMENT if only_documents else Kind.TEXT,
        expected=" or ".join(dict.fromkeys(shape.expected for shape in shapes)),
        metavar="JSON" if only_documents else "VALUE",
        optional=optional or any(shape.optional for shape in shapes),
    )


def _choice(choices: list[str], also: tuple[str, ...] = ()) -> Shape:
    return Shape(
        kind=Kind.CHOICE,
        expected="one of " + ", ".join(choices),
        metavar="{" + ",".join(choices) + "}",
        choices=tuple(choices),
        accepted=tuple(dict.fromkeys([*choices, *also])),
    )


def _list(arguments: tuple[Any, ...], *, unordered: bool) -> Shape:
    members = {repr(argument): argument for argument in arguments if argument is not Ellipsis}
    item = shape_of(next(iter(members.values()))) if len(members) == 1 else shape_of(Any if members else str)
    if item.kind is Kind.LIST:  # lists of lists are written as JSON
        item = Shape(kind=Kind.DOCUMENT, expected=item.expected, metavar="JSON")
    expected = f"a list, each item {item.expected}"
    return Shape(kind=Kind.LIST, expected=expected, metavar=item.metavar, item=item, unordered=unordered)


def _class(cls: type) -> Shape:
    if issubclass(cls, enum.Enum):
        by_value = all(isinstance(member.value, (str, int)) for member in cls)
        names = tuple(member.name for member in cls)
        return _choice([str(member.value) for member in cls] if by_value else list(names), also=names)
    if issubclass(cls, PurePath):
        return Shape(kind=Kind.PATH, expected="a path", metavar="PATH")
    is_document = issubclass(cls, collections.abc.Mapping) or typing.is_typeddict(cls)
    if is_document or dataclasses.is_dataclass(cls) or hasattr(cls, "model_fields"):
        name = (
            "a JSON object"
            if issubclass(cls, collections.abc.Mapping)
            else f"a JSON object of type {cls.__name__}"
        )
        return Shape(kind=Kind.DOCUMENT, expected=name, metavar="JSON")
    return Shape(kind=Kind.TEXT, expected=f"a value of type {cls.__name__}")
