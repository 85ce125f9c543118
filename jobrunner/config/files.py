"""Where the configuration file is looked for, and where data are kept if it does not say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from jobrunner.errors import ConfigError


def find_file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to read, if there is one."""
    named = path or environ.get("JOBRUNNER_CONFIG")
    if named:
        file = Path(named).expanduser()
        if not file.exists():  # it may well be a pipe
            raise ConfigError(
                f"The configuration file {file} does not exist.", hint="Check --config and JOBRUNNER_CONFIG."
            )
        return file
    return next((place for place in places(environ) if place.is_file()), None)


def places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration file is looked for if none is named; the first that is there is read."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    return (
        Path("jobrunner.toml"),
        home / "jobrunner" / "jobrunner.toml",
        Path("/etc/jobrunner/jobrunner.toml"),
    )


def data_directory() -> Path:
    """The user's data directory for jobrunner."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()) / "jobrunner"


def default_database() -> Path:
    """The embedded default's file."""
    return data_directory() / "jobrunner.sqlite"
