"""A job's typed parameters, as its factory's signature declares them.

The same declaration makes the options of the command line, checks what is posted, and gives the factory its
arguments: raw values (text, Python values, JSON) are validated into the JSON that is stored, and that is
decoded into typed values.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from jobrunner.errors import InvalidParameters, PluginError
from jobrunner.model import Json
from jobrunner.plugins import options
from jobrunner.plugins.docstrings import parameter_help
from jobrunner.plugins.json_limits import check_json, check_shape, check_size, shorten
from jobrunner.plugins.shapes import Kind, Shape, shape_of
from jobrunner.references import has_references

if TYPE_CHECKING:
    import argparse

    from pydantic import TypeAdapter

REQUIRED = inspect.Parameter.empty
SHOWN_PROBLEMS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameter:
    """One parameter of a job type."""

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""
    owner: str = ""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @cached_property
    def shape(self) -> Shape:
        return shape_of(self.annotation)

    @property
    def optional(self) -> bool:
        """Whether None is a value of it; a default of None makes it one."""
        return self.shape.optional or self.default is None

    @cached_property
    def default_json(self) -> Json:
        """The default in its stored form; PluginError if it is not a value of the parameter's own type."""
        try:
            return self.encode(self.validate(self.default))
        except InvalidParameters as error:
            raise PluginError(f"the default of {self}: {error.message}") from error

    def validate(self, raw: Any) -> Any:
        """The typed value; InvalidParameters names the parameter, the value and what is expected."""
        from jobrunner.plugins.adapters import ValidationError, explain

        if raw is None and self.optional:
            return None
        check_shape(raw, f"parameter {self.name!r}")
        try:
            return self._adapter.validate_python(raw)
        except ValidationError as error:
            reason = explain(error)
        except RecursionError:
            reason = ": it is nested too deeply"
        raise InvalidParameters(
            f"parameter {self.name!r} is {shorten(raw)}, but has to be {self.shape.expected}{reason}"
        )

    def encode(self, value: Any) -> Json:
        """The JSON of a typed value."""
        if value is None and self.optional:
            return None
        try:
            plain = self._adapter.dump_python(value, mode="json", warnings=False)
        except ValueError as error:  # pydantic's serialization errors are ValueErrors
            raise InvalidParameters(f"parameter {self.name!r} cannot be stored as JSON: {error}") from None
        if self.shape.unordered and isinstance(plain, list):
            plain.sort(key=lambda item: (type(item).__name__, str(item)))  # the same set is the same JSON
        stored = check_json(plain, f"parameter {self.name!r}")
        self._check_survival(stored, value)
        return stored

    def _check_survival(self, stored: Json, value: Any) -> None:
        """Some types hide their value when they are written, or cannot read what they wrote."""
        from jobrunner.plugins.adapters import ValidationError

        try:
            same = self._adapter.validate_python(stored) == value
        except ValidationError:
            same = False
        if not same:
            raise PluginError(f"a value of {self} is not the same after it was stored: it needs another type")

    def schema(self) -> dict[str, Json]:
        """What JSON schema has to say of it beside its type."""
        extra: dict[str, Json] = {"description": self.help} if self.help else {}
        return extra if self.required else extra | {"default": self.default_json}

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        from jobrunner.plugins.adapters import adapter_of

        return adapter_of(self.annotation, str(self))

    def __str__(self) -> str:
        return f"parameter {self.name!r} of {self.owner}"


class ParameterSet:
    """The parameters of one job type, in the order of the signature."""

    def __init__(self, parameters: Collection[Parameter] = (), *, owner: str) -> None:
        self.owner = owner
        self._parameters = {parameter.name: parameter for parameter in parameters}

    @classmethod
    def from_factory(cls, factory: Callable[..., Any], *, owner: str | None = None) -> ParameterSet:
        """Read the factory's signature; PluginError if it cannot be a job type's."""
        signature = check_signature(factory)
        help_texts = parameter_help(factory.__doc__)
        owner = owner or factory.__name__
        return cls(
            [
                Parameter(
                    name=name,
                    annotation=_annotation(factory, parameter),
                    default=parameter.default,
                    help=help_texts.get(name, ""),
                    owner=owner,
                )
                for name, parameter in signature.parameters.items()
            ],
            owner=owner,
        )

    def __iter__(self) -> typing.Iterator[Parameter]:
        return iter(self._parameters.values())

    def __len__(self) -> int:
        return len(self._parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __getitem__(self, name: str) -> Parameter:
        return self._parameters[name]

    def add_options(self, parser: argparse.ArgumentParser, reserved: Collection[str] = ()) -> None:
        """Give the parser an option for each parameter.

        ``reserved`` are option names that the command has for itself (``wait`` or ``--wait``); a parameter of
        such a name gets ``--param-<name>``.
        """
        options.add_options(parser, self, reserved)

    def from_namespace(self, namespace: argparse.Namespace) -> dict[str, Any]:
        """The raw values of the options that were given; JSON is read, and relative paths are made absolute.

        Raises InvalidParameters if JSON, or a file with JSON, cannot be read.
        """
        return options.from_namespace(namespace, self)

    def validate(self, raw: Mapping[str, Any], *, refers: bool = False) -> dict[str, Json]:
        """The parameters as they are stored, defaults filled in. References to other jobs' results stay as they are.

        :param refers: whether there may be references: to jobs that this one comes after

        Raises InvalidParameters that tells all that is wrong, PostingTooLarge for more than 256 KiB in all.
        """
        problems = [*self._unknown(raw), *self._missing(raw)]
        stored: dict[str, Json] = {}
        for parameter in self:
            try:
                if refers and parameter.name in raw and _refers(raw[parameter.name], parameter.name):
                    stored[parameter.name] = check_json(raw[parameter.name], f"parameter {parameter.name!r}")
                elif parameter.name in raw:
                    stored[parameter.name] = parameter.encode(parameter.validate(raw[parameter.name]))
                elif not parameter.required:
                    stored[parameter.name] = parameter.default_json
            except InvalidParameters as error:
                problems.append(error.message)
        if problems:
            raise InvalidParameters(
                _listed(problems), hint=f"`jobrunner post {self.owner} --help` tells what it takes"
            )
        check_size(stored, f"the parameters of {self.owner}")
        return stored

    def validate_results(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """As :meth:`validate`, for parameters among which are results of other jobs.

        Numbers where text is expected count as their text, as they would on a command line.
        """
        return self.validate(
            {
                name: _as_text(value, self[name].shape) if name in self else value
                for name, value in given.items()
            }
        )

    def complete(self, stored: Mapping[str, Json]) -> dict[str, Json]:
        """Stored parameters, with the defaults of those that came to the type after the job was posted."""
        problems = [*self._unknown(stored), *self._missing(stored)]
        if problems:
            raise InvalidParameters(_listed(problems))
        missing = (parameter for parameter in self if parameter.name not in stored)
        return dict(stored) | {parameter.name: parameter.default_json for parameter in missing}

    def decode(self, stored: Mapping[str, Json]) -> dict[str, Any]:
        """Typed values of stored parameters, for the factory; InvalidParameters if they do not fit it any
        more.
        """
        return {name: self[name].validate(value) for name, value in self.complete(stored).items()}

    def json_schema(self) -> dict[str, Json]:
        """The parameters as one JSON schema (2020-12) of an object."""
        from pydantic import TypeAdapter

        inputs = [(parameter.name, "validation", parameter._adapter) for parameter in self]
        schemas, shared = TypeAdapter.json_schemas(inputs)  # type: ignore[arg-type]
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.owner,
            "type": "object",
            "properties": {
                parameter.name: schemas[(parameter.name, "validation")] | parameter.schema()
                for parameter in self
            },
            "required": [parameter.name for parameter in self if parameter.required],
            "additionalProperties": False,
            **shared,
        }

    def _unknown(self, given: Mapping[str, Any]) -> list[str]:
        unknown = [name for name in given if name not in self._parameters]
        return [f"{self.owner} has no parameter {shorten(name)}{self._similar(name)}" for name in unknown]

    def _missing(self, given: Mapping[str, Any]) -> list[str]:
        return [
            f"parameter {parameter.name!r} is missing: it has to be {parameter.shape.expected}"
            for parameter in self
            if parameter.required and parameter.name not in given
        ]

    def _similar(self, name: str) -> str:
        if matches := difflib.get_close_matches(str(name), self._parameters, n=1):
            return f": did you mean {matches[0]!r}?"
        return f"; it has {', '.join(self._parameters)}" if self._parameters else "; it has none at all"


def _as_text(value: Json, shape: Shape) -> Json:
    if shape.kind is Kind.LIST and shape.item is not None and isinstance(value, list):
        return [_as_text(item, shape.item) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if shape.kind is Kind.TEXT and is_number else value


def _refers(raw: Any, name: str) -> bool:
    """Whether the value is, or holds, the result of another job, so that it can be checked only when that is there."""
    if not isinstance(raw, (dict, list, tuple)):
        return False
    check_shape(raw, f"parameter {name!r}")
    return has_references(raw)


def _listed(problems: list[str]) -> str:
    """The problems, each in a line; of a great many only the first."""
    more = len(problems) - SHOWN_PROBLEMS
    lines = problems[:SHOWN_PROBLEMS] + ([f"... and {more:,} more"] if more > 0 else [])
    return "\n".join(lines)


def check_signature(factory: Callable[..., Any]) -> inspect.Signature:
    """The signature of a flow factory, if each of its parameters can be given by name; else PluginError."""
    signature = inspect.signature(factory)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(
                f"{factory.__qualname__} takes {parameter}, but a job's parameters are named one by one: "
                f"replace it by parameters with names and types"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise PluginError(
                f"{factory.__qualname__} takes {parameter.name!r} by position only, but a job's "
                f"parameters are given by name: remove the '/' from its signature"
            )
    return signature


def _annotation(factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return _type_of_default(parameter.default)
    # One at a time, because the others, and what the factory returns, may name what only type checkers
    # import.
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    namespace = getattr(inspect.unwrap(factory), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)[parameter.name]
    except Exception as error:
        raise PluginError(
            f"the type of parameter {parameter.name!r} of {factory.__qualname__} cannot be read: "
            f"{parameter.annotation!r} raised {type(error).__name__}: {error}",
            hint="import the names in its annotations at run time, not under TYPE_CHECKING",
        ) from error


def _type_of_default(default: Any) -> Any:
    """The type of a parameter without an annotation: its default's, or text."""
    if isinstance(default, (list, tuple, set, frozenset)):
        members = {_type_of_default(item) for item in default}
        inner = members.pop() if len(members) == 1 else Any if members else str
        return list[inner] if isinstance(default, (list, tuple)) else set[inner]  # type: ignore[valid-type]
    if isinstance(default, dict):
        return dict[str, Any]
    for known in (bool, enum.Enum, int, float, str, PurePath, datetime, date, timedelta):
        if isinstance(default, known) and default is not REQUIRED:
            return type(default)
    return str
