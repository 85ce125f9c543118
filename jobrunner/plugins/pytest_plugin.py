"""For pytest: in a directory with plugins, tests import ``flows.<group>.<job>`` as jobrunner does.

Registered in the entry point group ``pytest11``. Where there are no plugins it does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobrunner.plugins import importing
from jobrunner.plugins.discovery import own_root


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    roots = importing.finder.roots or (own_root().path,)
    found = [
        place for place in dict.fromkeys(_places(early_config)) if place not in roots and _has_plugins(place)
    ]
    if found:
        importing.span([*roots, *found])


def _places(config: pytest.Config) -> Iterator[Path]:
    started_in = Path(config.invocation_params.dir)
    yield started_in / importing.TOP
    yield config.rootpath / importing.TOP
    for argument in config.known_args_namespace.file_or_dir:
        path = started_in / argument.partition("::")[0]
        yield from (place for place in (path, *path.parents) if place.name == importing.TOP)


def _has_plugins(place: Path) -> bool:
    return any(place.glob("*/*/flow.py"))
