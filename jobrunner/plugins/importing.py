"""Importing plugins: the name ``flows`` spans all plugin directories, and a plugin that fails harms only
itself.

Packages named ``flows`` or ``flows.<group>`` may exist in several places at once (the working tree, the
directories on JOBRUNNER_FLOWS, installed packages), with or without ``__init__.py``. Python's own rule, by
which the first ``__init__.py`` hides all others, would make plugins disappear; so a finder of ours answers
for those two levels. The next one, ``flows.<group>.<job>``, is always one place, and below it Python's own
rules hold.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from jobrunner.plugins.registry import PluginProblem

TOP = "flows"


class FlowsFinder(importlib.abc.MetaPathFinder):
    """Finds ``flows``, its groups and their jobs in the directories that it was given."""

    def __init__(self) -> None:
        self.roots: tuple[Path, ...] = ()
        self.bare_groups: set[str] = set()
        """Groups whose ``__init__.py`` failed: imported without it, so that it does not harm their jobs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parts = fullname.split(".")
        if parts[0] != TOP or len(parts) > 3:
            return None
        if len(parts) == 1:
            return _package(fullname, [str(root) for root in self.portions()])
        if len(parts) == 2:
            return self._group(fullname, parts[1])
        return self._job(fullname, parts[1], parts[2])

    def portions(self) -> list[Path]:
        """The plugin directories, then whatever else is called ``flows`` on ``sys.path``."""
        # os.path: what this user may not see is not there; pathlib would raise.
        others = (Path(entry or ".").absolute() / TOP for entry in sys.path)
        return [*self.roots, *dict.fromkeys(o for o in others if os.path.isdir(o) and o not in self.roots)]

    def _group(self, fullname: str, group: str) -> ModuleSpec | None:
        places = [portion / group for portion in self.portions() if os.path.isdir(portion / group)]
        if not places:
            return self._module(fullname, [portion / f"{group}.py" for portion in self.portions()])
        init = next((place / "__init__.py" for place in places if (place / "__init__.py").is_file()), None)
        if fullname in self.bare_groups:
            init = None
        return _package(fullname, [str(place) for place in places], init)

    def _job(self, fullname: str, group: str, job: str) -> ModuleSpec | None:
        for portion in self.portions():
            place = portion / group / job
            init, module = place / "__init__.py", place.with_name(f"{job}.py")
            if init.is_file() or (place / "flow.py").is_file():
                return _package(fullname, [str(place)], init if init.is_file() else None)
            if module.is_file():
                return self._module(fullname, [module])
            if place.is_dir():
                return _package(fullname, [str(place)])
        return None

    def _module(self, fullname: str, files: Sequence[Path]) -> ModuleSpec | None:
        found = next((file for file in files if file.is_file()), None)
        return importlib.util.spec_from_file_location(fullname, found) if found else None


def _package(fullname: str, places: list[str], init: Path | None = None) -> ModuleSpec:
    if init is not None:
        spec = importlib.util.spec_from_file_location(fullname, init, submodule_search_locations=places)
        assert spec is not None
        return spec
    spec = ModuleSpec(fullname, None, is_package=True)
    spec.submodule_search_locations = places
    return spec


finder = FlowsFinder()


def span(roots: Sequence[Path]) -> None:
    """Make ``flows`` span these directories, in this order, from now on."""
    finder.roots = tuple(roots)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if (
            (name == TOP or name.startswith(f"{TOP}."))
            and name.count(".") < 2
            and hasattr(module, "__path__")
        ):
            spec = finder.find_spec(name)
            if spec and spec.submodule_search_locations is not None:
                module.__path__ = list(spec.submodule_search_locations)


def is_inside(module: str, package: str) -> bool:
    """Whether the module is the package, or below it."""
    return module == package or module.startswith(f"{package}.")


def drop(packages: Sequence[str]) -> dict[str, ModuleType]:
    """Take the modules of these packages out of ``sys.modules``, so that the next import reads them anew."""
    names = [name for name in list(sys.modules) if any(is_inside(name, package) for package in packages)]
    return {name: sys.modules.pop(name) for name in names}


def import_guarded(module: str, source: str) -> PluginProblem | None:
    """Import a plugin's module; what it raises, be it ``SystemExit``, becomes a problem. stdout is left
    alone.
    """
    try:
        with stdout_to_stderr():
            importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it does is that plugin's problem alone
        return problem_of(error, module, source)
    return None


def problem_of(error: BaseException, module: str, source: str) -> PluginProblem:
    """The error as people need it: where in the plugin it was, without the machinery of importing."""
    text = "".join(traceback.format_exception(type(error), error, _plugin_frames(error)))
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        message = f"it called sys.exit({error.code!r}) while it was imported"
    if not isinstance(error, SyntaxError) and (place := _last_place(error)):
        message += f" ({place})"
    return PluginProblem(source=source, where=module, message=message, traceback=text)


def _plugin_frames(error: BaseException) -> Any:
    """The traceback without its first frames, which are ours and importlib's."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _last_place(error: BaseException) -> str | None:
    frames = traceback.extract_tb(_plugin_frames(error))
    own = [frame for frame in frames if not _is_machinery(frame.filename)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else None


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


class _ThreadOutput:
    """stdout, but for one thread, whose output goes to stderr; the others may be jobs that are under way."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout
        self._thread: int | None = threading.get_ident()

    def stop(self) -> None:
        """Change nothing any more: another thread may have put its own in front of this one meanwhile."""
        self._thread = None

    def write(self, text: str) -> int:
        return self._current.write(text)

    def flush(self) -> None:
        self._current.flush()

    @property
    def _current(self) -> TextIO:
        return sys.stderr if threading.get_ident() == self._thread else self._stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current, name)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What this thread prints goes to stderr: stdout is for data."""
    before = sys.stdout
    redirected: Any = _ThreadOutput(before)
    sys.stdout = redirected
    try:
        yield
    finally:
        redirected.stop()
        if sys.stdout is redirected:
            sys.stdout = before
