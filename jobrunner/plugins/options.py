"""Parameters as options of the command line. Only argparse and typing are needed to print help."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobrunner.errors import InvalidParameters
from jobrunner.plugins.json_limits import MAX_BYTES, shorten, too_large
from jobrunner.plugins.shapes import Kind, Shape
from jobrunner.quantities import format_duration
from jobrunner.references import WRITTEN

if TYPE_CHECKING:
    from jobrunner.plugins.parameters import Parameter

PREFIX = "param-"
DESTINATION = "parameter:"
REST = f"{DESTINATION}:rest"


def add_options(
    parser: argparse.ArgumentParser, parameters: Iterable[Parameter], reserved: Collection[str] = ()
) -> None:
    """Give the parser an option for each parameter; absent options leave nothing in the namespace."""
    taken = {name.lstrip("-") for name in reserved}
    taken |= {option.lstrip("-") for option in parser._option_string_actions}
    parameters = list(parameters)
    rest = rest_parameter(parameters)
    for parameter in parameters:
        name = option_name(parameter, taken)
        taken |= _names(parameter, name)
        _add_option(parser, parameter, f"--{name}", required=parameter.required and parameter is not rest)
        if parameter is rest:
            _add_rest(parser, parameter, f"--{name}")


def rest_parameter(parameters: Iterable[Parameter]) -> Parameter | None:
    """The one parameter that may be written without an option, behind all options: ``-- tar -cf a.tar dir``.

    It is a list of text without a default, if there is exactly one.
    """
    lists = [one for one in parameters if one.required and one.shape.kind is Kind.LIST]
    is_text = len(lists) == 1 and lists[0].shape.item is not None and lists[0].shape.item.kind is Kind.TEXT
    return lists[0] if is_text else None


def option_name(parameter: Parameter, taken: Collection[str]) -> str:
    """The option of a parameter, without the dashes in front."""
    plain = parameter.name.replace("_", "-").strip("-")
    return PREFIX + plain if _names(parameter, plain) & set(taken) else plain


def _names(parameter: Parameter, name: str) -> set[str]:
    return {name, f"no-{name}"} if parameter.shape.kind is Kind.FLAG else {name}


def _add_option(
    parser: argparse.ArgumentParser, parameter: Parameter, option: str, *, required: bool
) -> None:
    shape = parameter.shape
    settings: dict[str, Any] = {
        "dest": DESTINATION + parameter.name,
        "default": argparse.SUPPRESS,
        "required": required,
        "help": _help(parameter),
    }
    if shape.kind is Kind.FLAG:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, **settings)
        return
    item = shape.item or shape
    if shape.kind is Kind.LIST:
        settings |= {"action": "extend", "nargs": "*"}
    if item.kind is Kind.CHOICE:
        settings["choices"] = _Choices(item.accepted)
    parser.add_argument(option, metavar=item.metavar, **settings)


class _Choices(tuple[str, ...]):
    """The words that are accepted; a reference to another job's result may stand for one of them.

    Whether it may do so here is told by whoever reads it; what it may not, the parameter's type refuses.
    """

    __slots__ = ()

    def __contains__(self, word: object) -> bool:
        return super().__contains__(word) or (isinstance(word, str) and WRITTEN.fullmatch(word) is not None)


def _add_rest(parser: argparse.ArgumentParser, parameter: Parameter, option: str) -> None:
    parser.add_argument(
        dest=REST,
        nargs="*",
        default=argparse.SUPPRESS,
        metavar=parameter.name.upper(),
        help=f"the same as {option}; with -- in front it may have words that begin with a dash",
    )


def _help(parameter: Parameter) -> str:
    parts = [parameter.help or _expected(parameter.shape)]
    if parameter.required:
        parts.append("(required)")
    elif parameter.default is not None:
        parts.append(f"(default: {_shown(parameter.default)})")
    return " ".join(part for part in parts if part).replace("%", "%%")


def _expected(shape: Shape) -> str:
    if shape.kind is Kind.DOCUMENT:
        return f"{shape.expected}, or @FILE to read it from a file"
    return shape.expected


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if hasattr(default, "total_seconds"):
        return format_duration(default.total_seconds())
    if isinstance(default, (list, tuple, set, frozenset)):
        return " ".join(_shown(item) for item in default) or "none"
    value = getattr(default, "value", default)
    return str(value) if isinstance(value, (str, int, float, os.PathLike)) else shorten(default)


def from_namespace(namespace: argparse.Namespace, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The raw values of the options that were given."""
    parameters = list(parameters)
    given = _with_rest(vars(namespace), rest_parameter(parameters))
    return {
        parameter.name: _read(given[DESTINATION + parameter.name], parameter.shape, parameter.name)
        for parameter in parameters
        if DESTINATION + parameter.name in given
    }


def _with_rest(given: dict[str, Any], rest: Parameter | None) -> dict[str, Any]:
    words = given.get(REST)
    if rest is None or not words:
        return given
    if DESTINATION + rest.name in given:
        raise InvalidParameters(f"parameter {rest.name!r} is given twice, as an option and without one")
    return given | {DESTINATION + rest.name: words}


def _read(value: Any, shape: Shape, name: str) -> Any:
    if shape.kind is Kind.LIST and shape.item is not None:
        return [_read(item, shape.item, name) for item in value]
    if shape.kind is Kind.PATH:
        # The job runs elsewhere and later: what is relative is relative to where it was typed.
        return os.path.abspath(os.path.expanduser(value)) if value else value
    if shape.kind is Kind.DOCUMENT:
        return _document(value, name)
    return value


def _document(text: str, name: str) -> Any:
    origin = "the text"
    if text.startswith("@"):
        origin, text = text[1:], _file_text(Path(os.path.expanduser(text[1:])), name)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidParameters(
            f"parameter {name!r}: {origin} is not JSON: {reason}; it was {shorten(text)}"
        ) from None


def _file_text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise too_large(f"parameter {name!r}", os.fstat(file.fileno()).st_size)
        return content.decode()
    except OSError as error:
        raise InvalidParameters(f"parameter {name!r}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidParameters(f"parameter {name!r}: {path} is not UTF-8 text") from None
