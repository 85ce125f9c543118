from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobrunner.plugins import default_registry, importing
from jobrunner.plugins.registry import Registry

WritePlugin = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory without plugins, in a process that has loaded none; put back as it was at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOBRUNNER_FLOWS", raising=False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file changed within a second is read anew
    modules, roots = importing.drop([importing.TOP]), importing.finder.roots
    before = Registry()
    before.adopt(default_registry)
    default_registry.adopt(Registry())
    yield tmp_path
    importing.drop([importing.TOP])
    sys.modules.update(modules)
    importing.finder.roots = roots
    default_registry.adopt(before)


@pytest.fixture
def write() -> WritePlugin:
    """Writes a file of a plugin directory; ``flow.py`` of a plugin that is given as ``group/job``."""

    def write(root: Path, name: str, source: str) -> Path:
        path = root / name if name.endswith(".py") else root / name / "flow.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path

    return write
