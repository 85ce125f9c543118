"""Validation of typed values by pydantic, with the few types read as people write them.

Only :mod:`jobrunner.plugins.parameters` imports this, and only when a value is looked at: importing pydantic
takes time.
"""

from __future__ import annotations

import enum
import functools
import operator
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)
from pydantic.errors import PydanticUserError

from jobrunner.errors import PluginError
from jobrunner.plugins.shapes import is_union
from jobrunner.quantities import parse_duration

__all__ = ["ValidationError", "adapter_of", "explain"]

SHOWN_ERRORS = 3
PLAIN_ERRORS = ("_type", "_parsing", "literal_error", "enum", "is_instance_of")


def adapter_of(annotation: Any, what: str) -> TypeAdapter[Any]:
    """Validator and encoder of a type; PluginError, beginning with ``what``, if the type can be none of a
    parameter.
    """
    try:
        return TypeAdapter(adapted(annotation))
    except (PydanticUserError, NameError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise PluginError(
            f"{what} has the type {annotation!r}, which cannot be a parameter's: {reason}",
            hint="use text, numbers, enums, paths, times, lists, dictionaries or pydantic models",
        ) from error


def explain(error: ValidationError) -> str:
    """What pydantic found, to be put behind a message; nothing if it is only that the type is wrong."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if all(not one["loc"] and one["type"].endswith(PLAIN_ERRORS) for one in found):
        return ""
    parts = []
    for one in found[:SHOWN_ERRORS]:
        place = ".".join(str(step) for step in one["loc"])
        text = one["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {text}" if place else text)
    if len(found) > SHOWN_ERRORS:
        parts.append(f"and {len(found) - SHOWN_ERRORS} more")
    return f" ({'; '.join(parts)})"


def adapted(annotation: Any) -> Any:
    """The annotation with its inner types replaced by ones that also read what people write."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return operator.getitem(Annotated, (adapted(arguments[0]), *annotation.__metadata__))
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(functools.partial(_literal, arguments))]
    if is_union(annotation):
        return _union(arguments)
    if origin is not None and arguments:
        return _rebuilt(annotation, arguments)
    return _simple(annotation)


def _union(arguments: tuple[Any, ...]) -> Any:
    several = len([one for one in arguments if one is not type(None)]) > 1
    # Between several types pydantic picks the best match; validators on numbers would only hide an exact one.
    members = [one if several and one in (int, float) else adapted(one) for one in arguments]
    return functools.reduce(operator.or_, members)


def _rebuilt(annotation: Any, arguments: tuple[Any, ...]) -> Any:
    inner = tuple(one if one is Ellipsis else adapted(one) for one in arguments)
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(inner)
    return get_origin(annotation)[inner]


def _simple(annotation: Any) -> Any:
    if annotation is datetime:
        return Annotated[datetime, AfterValidator(_with_zone)]
    if annotation is timedelta:
        return Annotated[timedelta, BeforeValidator(_duration)]
    if annotation is int:
        return Annotated[int, BeforeValidator(_no_flag)]
    if annotation is float:
        return Annotated[float, BeforeValidator(_no_flag), AllowInfNan(False)]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        member = functools.partial(_member, annotation)
        return Annotated[annotation, BeforeValidator(member), PlainSerializer(_member_to_json)]
    return annotation


def _with_zone(moment: datetime) -> datetime:
    """A time without a zone is the local one of whoever posts; it is stored with its offset."""
    return moment if moment.tzinfo else moment.astimezone()


def _duration(value: Any) -> Any:
    return value if isinstance(value, timedelta) else timedelta(seconds=parse_duration(value))


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


def _literal(choices: tuple[Any, ...], value: Any) -> Any:
    """Text may stand for a choice that is not text, as it does on a command line."""
    if isinstance(value, str) and value not in choices:
        return next((choice for choice in choices if str(choice) == value), value)
    return value


def _member(cls: type[enum.Enum], value: Any) -> Any:
    """The member that has this value, or else this name."""
    if isinstance(value, cls):
        return value
    for member in cls:
        if member.value == value and type(member.value) is type(value):
            return member
    text = str(value)
    by_text = {str(member.value): member for member in cls if isinstance(member.value, (int, float))}
    return cls.__members__.get(text) or (by_text.get(text) if isinstance(value, str) else None) or value


def _member_to_json(member: enum.Enum) -> Any:
    plain = isinstance(member.value, (str, int, float)) and not isinstance(member.value, enum.Enum)
    return member.value if plain else member.name
