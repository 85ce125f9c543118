from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from jobrunner.plugins.registry import Loading, Registry, registering


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry of the test's own, into which decorators register."""
    own = Registry()
    with registering(Loading(registry=own, sources={})):
        yield own


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Makes a module of that name from source text, as if it had been imported."""

    def make(name: str, source: str) -> ModuleType:
        made = ModuleType(name)
        made.__file__ = f"/nowhere/{name.replace('.', '/')}.py"
        monkeypatch.setitem(sys.modules, name, made)
        namespace: dict[str, Any] = vars(made)
        exec(compile(source, made.__file__, "exec", dont_inherit=True), namespace)
        return made

    return make
