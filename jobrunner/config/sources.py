"""What a file, the environment and the command line each say, by section and key; nothing is validated yet."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobrunner.config.sections import Config
from jobrunner.errors import ConfigError

ENV_PREFIX = "JOBRUNNER_"


def read_toml(file: Path) -> dict[str, dict[str, Any]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The configuration file {file} cannot be read: {error}.",
            hint="Mend it, or name another with --config or JOBRUNNER_CONFIG.",
        ) from error
    loose = sorted(key for key, value in content.items() if not isinstance(value, dict))
    if loose:
        raise ConfigError(
            f"{file}: {loose[0]} stands outside of a section.", hint=f"Sections are {_sections()}."
        )
    return content


def from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for variable, value in environ.items():
        section, separator, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        if variable.startswith(ENV_PREFIX) and separator and section in Config.model_fields:
            found.setdefault(section, {})[key] = value
    return found


def from_flags(flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        if value is not None:
            section, _, key = name.partition(".")
            found.setdefault(section, {})[key] = value
    return found


def _sections() -> str:
    return ", ".join(f"[{name}]" for name in Config.model_fields)
