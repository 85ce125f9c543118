"""Is the configuration what its author meant?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobrunner.config import ENV_PREFIX, Config, LoadedConfig
from jobrunner.jobs.health.finding import Finding, Reporter, Subject
from jobrunner.passwords import hide_password

AREA = "configuration"
SECRETS = ("board.password", "persistence.password", "board.url", "persistence.url")

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    loaded = subject.loaded
    yield report.ok(f"{_sources(loaded)}.", hint=None)
    config = loaded.config
    where = "the store itself" if config.board_url == config.store_url else hide_password(config.board_url)
    yield report.ok(f"Store {hide_password(config.store_url)}, board {where}.")
    yield from unknown_variables(os.environ)
    if loaded.file is not None:
        yield from readable_secrets(loaded, loaded.file)


def unknown_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """A variable whose section does not exist is ignored by the configuration: most often it is a slip."""
    for name in sorted(environ):
        section, separator, _ = name.removeprefix(ENV_PREFIX).lower().partition("__")
        if name.startswith(ENV_PREFIX) and separator and section not in Config.model_fields:
            yield report.warning(
                f"The variable {name} has no effect: there is no section [{section}].",
                f"Sections are {', '.join(Config.model_fields)}.",
            )


def readable_secrets(loaded: LoadedConfig, file: Path) -> Iterator[Finding]:
    """A password in a file that everybody on the machine can read is none."""
    mode = file.stat().st_mode
    if not mode & stat.S_IROTH:
        return
    for key in SECRETS:
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.config, section), name)
        secret = value is not None and (name == "password" or hide_password(value) != value)
        if secret and loaded.origins.get(key) == str(file):
            yield report.warning(
                f"{file} holds a password ({key}), and every user of this machine can read it.",
                f"chmod o-r {file}, or name a file that holds the password alone: password_file = ...",
            )
            return


def _sources(loaded: LoadedConfig) -> str:
    others = sorted({origin for origin in loaded.origins.values() if origin != str(loaded.file)})
    if loaded.file is None and not others:
        return "No configuration: everything has its default"
    file = f"Read from {loaded.file}" if loaded.file is not None else "No configuration file"
    return f"{file}, and from {', '.join(others)}" if others else file
