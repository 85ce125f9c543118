"""Reading and merging the configuration.

Files first (``--config``, else ``$JOBRUNNER_CONFIG``, else ``./jobrunner.toml``, else the user's, else the system's),
overridden by ``JOBRUNNER_SECTION__KEY`` variables, overridden by flags. With none of them, board and store are one
SQLite file in the user's data directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobrunner.config.files import find_file
from jobrunner.config.sections import Config
from jobrunner.config.sources import ENV_PREFIX, from_environment, from_flags, read_toml
from jobrunner.errors import ConfigError

_FILE_HINT = "The file holds nothing but the value; the account that runs jobrunner must be able to read it."
_WORDS = {
    "greater_than": "it has to be more than {gt}",
    "greater_than_equal": "it has to be {ge} or more",
    "less_than_equal": "it has to be {le} or less",
    "finite_number": "it has to be a number, and not an endless one",
    "int_parsing": "it has to be a whole number",
    "int_type": "it has to be a whole number",
    "int_from_float": "it has to be a whole number",
    "float_parsing": "it has to be a number",
    "float_type": "it has to be a number",
    "bool_parsing": "it has to be true or false",
    "bool_type": "it has to be true or false",
    "string_type": "it has to be a text",
    "string_pattern_mismatch": "it has to fit the pattern {pattern}",
}
"""pydantic's faults in the words of the other messages."""


@dataclass(frozen=True, kw_only=True)
class LoadedConfig:
    """A configuration, and where each of its values came from (``section.key`` to a file, variable or flag)."""

    config: Config
    origins: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None


def load_config(
    path: str | Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Read, merge and validate; raises ConfigError with every fault, each with where it came from.

    :param path: the file named by ``--config``; one that is named must exist
    :param flags: values from the command line, by ``section.key``; None means not given
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    if file is not None:
        _merge(values, origins, read_toml(file), lambda key: str(file))
    _merge(values, origins, from_environment(environ), lambda key: _variable(key))
    _merge(values, origins, from_flags(flags or {}), _option)
    _read_secret_files(values, origins)
    try:
        return LoadedConfig(config=Config.model_validate(values), origins=origins, file=file)
    except ValidationError as error:
        raise ConfigError(
            _explain(error, origins),
            hint="`jobrunner --config /dev/null config show` lists every key there is.",
        ) from error


def _merge(
    values: dict[str, dict[str, Any]],
    origins: dict[str, str],
    more: Mapping[str, Mapping[str, Any]],
    origin: Any,
) -> None:
    for section, content in more.items():
        for key, value in content.items():
            if section == "flows" and key == "paths" and isinstance(value, str):
                value = [part for part in value.split(os.pathsep) if part]
            if section == "conductor" and key in ("run_as", "labels") and isinstance(value, str):
                value = [part.strip() for part in value.split(",") if part.strip()]
            values.setdefault(section, {})[key] = value
            # a later source's plain value overrides an earlier one's file, and the other way round
            twin = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
            if values[section].pop(twin, None) is not None and origins.get(f"{section}.{twin}") == origin(
                f"{section}.{key}"
            ):
                both = origin(f"{section}.{key}")
                raise ConfigError(
                    f"{section}.{key} and {section}.{twin} contradict each other: {both} gives both."
                )
            origins.pop(f"{section}.{twin}", None)
            origins[f"{section}.{key}"] = origin(f"{section}.{key}")


def _read_secret_files(values: dict[str, dict[str, Any]], origins: dict[str, str]) -> None:
    """``key_file`` gives the content of a file as ``key``: how containers and systemd hand over secrets."""
    for section, content in values.items():
        model = Config.model_fields.get(section)
        known = getattr(model.annotation, "model_fields", {}) if model else {}
        for name in [key for key in content if key.endswith("_file") and key.removesuffix("_file") in known]:
            path = Path(os.path.expanduser(str(content.pop(name))))
            key = name.removesuffix("_file")
            try:
                content[key] = path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(
                    f"{section}.{name}: {path} cannot be read: {error.strerror}.", hint=_FILE_HINT
                ) from error
            except UnicodeDecodeError:  # its text would tell some of the secret
                raise ConfigError(
                    f"{section}.{name}: {path} is not text in UTF-8.", hint=_FILE_HINT
                ) from None
            origins[f"{section}.{key}"] = f"{path} (named by {origins.pop(f'{section}.{name}')})"


def _variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def _option(key: str) -> str:
    """The option of a key: those of the conductor's section are `run`'s own, without the section's name."""
    name = {"labels": "label"}.get(key.removeprefix("conductor."), key.removeprefix("conductor."))
    return "--" + name.replace(".", "-").replace("_", "-")


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        message = str(fault["msg"]).removeprefix("Value error, ")
        if words := _WORDS.get(fault["type"]):
            message = words.format(**fault.get("ctx", {}))
        if fault["type"] == "extra_forbidden":
            message = f"there is no such key{_similar(fault['loc'])}"
        found = _origin(place, origins)
        origin = f" (from {found})" if found else ""
        line = f"{place + ': ' if place else ''}{message}{origin}"
        lines.append(line if line.endswith("?") else f"{line}.")
    return "\n".join(lines)


def _origin(place: str, origins: Mapping[str, str]) -> str | None:
    """Where a key comes from; of a section that is not known, where the first of its keys does."""
    inside = (origin for key, origin in origins.items() if key.startswith(f"{place}."))
    return origins.get(place) or (next(inside, None) if "." not in place else None)


def _similar(place: Sequence[Any]) -> str:
    import difflib

    names: list[str] = list(Config.model_fields)
    if len(place) > 1:
        model = Config.model_fields[str(place[0])].annotation
        names = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(place[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
