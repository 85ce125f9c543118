"""Finding and loading plugins.

A plugin is ``flows/<group>/<job>/flow.py`` or ``flows/<group>/<job>.py`` in a plugin directory, or a module
that an installed package names in the entry point group ``jobrunner.flows``. The plugin directories are, in
this order: jobrunner's own ``flows/``; then ``flows/`` of the working directory and each directory on
JOBRUNNER_FLOWS, or the directories that the caller names. Where two define the same thing the first one
stays, and the other is a problem.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobrunner.errors import JobrunnerError
from jobrunner.plugins import builtin_capabilities, importing
from jobrunner.plugins.importing import drop, import_guarded, is_inside, problem_of, span
from jobrunner.plugins.registry import (
    BUILTIN,
    JobType,
    Loading,
    PluginProblem,
    Registry,
    default_registry,
    registering,
)

ENTRY_POINTS = "jobrunner.flows"
PATH_VARIABLE = "JOBRUNNER_FLOWS"

_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Root:
    """A directory with plugins."""

    path: Path
    only: str | None = None
    """The only group that is looked at; others there belong to other packages."""
    named_by: str | None = None
    """Who named it, if its absence is worth telling."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Something to import."""

    module: str
    package: str
    source: str
    place: str
    is_flow: bool = False
    """It is a ``flow.py``, so it is meant to register something."""


def load_plugins(
    paths: Sequence[Path] | None = None, *, reload: bool = False, directory: Path | None = None
) -> Registry:
    """Find and import all plugins; returns the default registry, filled.

    ``paths`` stands for the working directory's ``flows/`` and JOBRUNNER_FLOWS. Loading again from the same
    places does nothing, unless ``reload`` is set: then all plugins are imported anew. The registry's contents
    change at once, when loading has ended; job types that are in use stay as they were. Plugins that fail
    become its ``problems``.

    :param directory: what relative paths start from, if not the working directory, which a task may have changed
    """
    with _lock:
        roots, problems = search_roots(paths, directory)
        searched = tuple(f"{root.path}:{root.only or ''}" for root in roots)
        before = default_registry.search_path
        if before == searched and not reload:
            return default_registry
        plugins = [*find_plugins(roots, problems), *find_entry_points(problems)]
        anew = reload or before is not None
        dropped = drop([importing.TOP, *(plugin.package for plugin in plugins)]) if anew else {}
        try:
            fresh = _load(plugins, roots, dropped)
        except BaseException:  # interrupted: what was loaded before stays in use
            sys.modules.update(dropped)
            raise
        for problem in problems:
            fresh.add_problem(problem)
        fresh.search_path = searched
        default_registry.adopt(fresh)
        return default_registry


# Where to look


def search_roots(
    paths: Sequence[Path] | None, directory: Path | None
) -> tuple[list[Root], list[PluginProblem]]:
    """The plugin directories that exist, each once, and what is wrong with the others."""
    problems: list[PluginProblem] = []
    roots: dict[Path, Root] = {}
    for root in _candidates(paths, directory or Path()):
        if os.path.isdir(root.path):  # as for FlowsFinder, false for what this user may not see
            roots.setdefault(root.path, root)
        elif root.named_by:
            message = f"{root.named_by} names this directory, and there is none that can be read"
            problems.append(PluginProblem(source=root.named_by, where=str(root.path), message=message))
    return list(roots.values()), problems


def _candidates(paths: Sequence[Path] | None, directory: Path) -> Iterator[Root]:
    yield own_root()
    if paths is not None:
        yield from (Root(path=_resolved(directory, path), named_by="the configuration") for path in paths)
        return
    yield Root(path=_resolved(directory, Path(importing.TOP)))
    for entry in os.environ.get(PATH_VARIABLE, "").split(os.pathsep):
        if entry.strip():
            yield Root(path=_resolved(directory, Path(entry.strip())), named_by=PATH_VARIABLE)


def own_root() -> Root:
    """jobrunner's own ``flows/``: beside the package, in its project as well as among installed packages.

    Among installed packages only the builtin plugins are ours.
    """
    beside = Path(__file__).resolve().parents[2]
    installed = beside.name in ("site-packages", "dist-packages")
    return Root(path=beside / importing.TOP, only=BUILTIN if installed else None)


def _resolved(directory: Path, path: Path) -> Path:
    return (directory / os.path.expanduser(path)).resolve()


# What is there


def find_plugins(roots: Sequence[Root], problems: list[PluginProblem]) -> list[Plugin]:
    """The plugins in the directories, in order; what cannot be one, or comes second, is added to the
    problems.
    """
    found: dict[str, Plugin] = {}
    for root in roots:
        here = list(_plugins_of(root, problems))
        if root.named_by and not here:
            problems.append(_nothing_there(root))
        for plugin in here:
            first = found.setdefault(plugin.package, plugin)
            if first is not plugin:
                message = f"{plugin.place} is left out, because {first.place} is {plugin.package} already"
                problems.append(PluginProblem(source=plugin.source, where=plugin.package, message=message))
    return list(found.values())


def _plugins_of(root: Root, problems: list[PluginProblem]) -> Iterator[Plugin]:
    for group in _entries(root.path, problems):
        if not group.is_dir() or _is_hidden(group) or root.only not in (None, group.name):
            continue
        for entry in _entries(group, problems):
            flow = entry / "flow.py"
            job = entry.name if flow.is_file() else entry.stem
            if _is_hidden(entry) or not (flow.is_file() or _is_module(entry)):
                continue
            package = f"{importing.TOP}.{group.name}.{job}"
            source = BUILTIN if group.name == BUILTIN and root.path == own_root().path else str(root.path)
            if not (group.name.isidentifier() and job.isidentifier()):
                message = f"{package} cannot be imported: use letters, digits and '_' in names of plugins"
                problems.append(PluginProblem(source=source, where=str(entry), message=message))
            elif flow.is_file():
                yield Plugin(
                    module=f"{package}.flow", package=package, source=source, place=str(flow), is_flow=True
                )
            else:
                yield Plugin(module=package, package=package, source=source, place=str(entry))


def _entries(directory: Path, problems: list[PluginProblem]) -> list[Path]:
    try:
        # A directory goes before a module of the same name, as in FlowsFinder.
        return sorted(directory.iterdir(), key=lambda entry: (entry.stem, entry.is_file()))
    except OSError as error:
        message = f"the directory cannot be read: {error.strerror}"
        problems.append(PluginProblem(source=str(directory), where=str(directory), message=message))
        return []


def _is_hidden(entry: Path) -> bool:
    return entry.name.startswith(("_", "."))


def _is_module(entry: Path) -> bool:
    is_test = entry.stem.startswith("test_") or entry.stem.endswith("_test") or entry.stem == "conftest"
    return entry.suffix == ".py" and not is_test and entry.is_file()


def _nothing_there(root: Root) -> PluginProblem:
    inner = root.path / importing.TOP
    message = f"no plugins are here: they are looked for as {root.path}/<group>/<job>/flow.py"
    if inner.is_dir():
        message += f"; did you mean {inner}?"
    return PluginProblem(source=root.named_by or str(root.path), where=str(root.path), message=message)


def find_entry_points(problems: list[PluginProblem]) -> list[Plugin]:
    """The plugins of installed packages.

    Entry points are read with the standard library: stevedore imports them while it lists them, and lets
    SystemExit and AssertionError of one plugin through to the others.
    """
    plugins: dict[str, Plugin] = {}
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        distribution = entry.dist.name if entry.dist else entry.name
        module = entry.value.partition(":")[0].strip()
        if not module or not all(part.isidentifier() for part in module.split(".")):
            message = f"its entry point {entry.name} names {entry.value!r}, which is not a module"
            problems.append(PluginProblem(source=distribution, where=entry.name, message=message))
            continue
        package = module.removesuffix(".flow")
        plugins.setdefault(
            module,
            Plugin(module=module, package=package, source=distribution, place=f"entry point {entry.name}"),
        )
    return list(plugins.values())


# Loading it


def _load(plugins: Sequence[Plugin], roots: Sequence[Root], dropped: Mapping[str, object]) -> Registry:
    registry = Registry()
    sources = {plugin.package: plugin.source for plugin in plugins}
    loading = Loading(registry=registry, sources={**sources, builtin_capabilities.__name__: BUILTIN})
    span([root.path for root in roots])
    importing.finder.bare_groups.clear()
    with registering(loading):
        builtin_capabilities.register_all()
        _keep_registered(loading, dropped)
        for plugin in plugins:
            _load_plugin(plugin, registry)
    return registry


def _keep_registered(loading: Loading, dropped: Mapping[str, object]) -> None:
    """Keep what was registered by modules that were imported before, and will not be imported again."""
    for capability in default_registry.capabilities.values():
        if capability.module in sys.modules and capability.module not in dropped:
            source = loading.sources.get(capability.package, capability.source)
            loading.registry.add_capability(replace(capability, source=source))
    for job_type in default_registry.job_types.values():
        if job_type.module in sys.modules and job_type.module not in dropped:
            source = loading.sources.get(job_type.package, job_type.source)
            loading.registry.add_type(replace(job_type, source=source))


def _load_plugin(plugin: Plugin, registry: Registry) -> None:
    _import_group(plugin, registry)
    problem = import_guarded(plugin.module, plugin.source)
    if problem is not None:
        registry.withdraw(plugin.package)
        registry.add_problem(problem)
        return
    mine = [one for one in registry.job_types.values() if one.package == plugin.package]
    for job_type in mine:
        _check_parameters(job_type, plugin, registry)
    others = [one for one in registry.capabilities.values() if one.package == plugin.package]
    has_problem = any(is_inside(problem.where, plugin.package) for problem in registry.problems)
    if plugin.is_flow and not (mine or others or has_problem):
        message = f"{plugin.place} registers nothing: decorate its flow factory with @job"
        registry.add_problem(PluginProblem(source=plugin.source, where=plugin.module, message=message))


def _import_group(plugin: Plugin, registry: Registry) -> None:
    """Import ``flows.<group>`` first: if its ``__init__.py`` fails, its jobs are imported without it."""
    if not plugin.package.startswith(f"{importing.TOP}."):
        return
    group = ".".join(plugin.package.split(".")[:2])
    if group in sys.modules or group in importing.finder.bare_groups:
        return
    if problem := import_guarded(group, plugin.source):
        registry.add_problem(problem)
        importing.finder.bare_groups.add(group)


def _check_parameters(job_type: JobType, plugin: Plugin, registry: Registry) -> None:
    """Read the annotations, now that the module is complete and all names in them are defined."""
    try:
        for parameter in job_type.parameters:
            parameter.shape  # noqa: B018
    except JobrunnerError as error:
        registry.withdraw(plugin.package)
        registry.add_problem(problem_of(error, job_type.module, plugin.source))


ProblemLogger = Callable[..., None]


def log_problems(registry: Registry, log: ProblemLogger) -> None:
    """Tell a log (for instance ``logger.warning``) of each plugin's problem, with its traceback."""
    for problem in registry.problems:
        log("plugin %s: %s\n%s", problem.where, problem.message, problem.traceback or "")
