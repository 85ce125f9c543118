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
        file = Path(os.path.expanduser(named))
        try:
            file.stat()  # it may well be a pipe
        except OSError as error:
            why = "does not exist" if isinstance(error, _NOT_THERE) else f"cannot be read: {error.strerror}"
            raise ConfigError(
                f"The configuration file {file} {why}.", hint="Check --config and JOBRUNNER_CONFIG."
            ) from error
        return file
    return next((place for place in places(environ) if os.path.isfile(place)), None)


_NOT_THERE = (FileNotFoundError, NotADirectoryError)


def places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration file is looked for if none is named; the first that is there is read."""
    home = environ.get("XDG_CONFIG_HOME") or _in_home(".config")
    own = () if home is None else (Path(home) / "jobrunner" / "jobrunner.toml",)
    return (Path("jobrunner.toml"), *own, Path("/etc/jobrunner/jobrunner.toml"))


def data_directory() -> Path:
    """The user's data directory for jobrunner; raises ConfigError for a user who has none."""
    home = os.environ.get("XDG_DATA_HOME") or _in_home(".local/share")
    if home is None:
        raise ConfigError(
            "This user has no home directory in which the database could be.",
            hint="Say where it is (persistence.url, or JOBRUNNER_PERSISTENCE__URL), or set HOME.",
        )
    return Path(home) / "jobrunner"


def _in_home(path: str) -> Path | None:
    """A path in the user's home; None for a user without one, as one in a container may be."""
    home = os.path.expanduser("~")
    return None if home == "~" else Path(home) / path


def default_database() -> Path:
    """The embedded default's file."""
    return data_directory() / "jobrunner.sqlite"
