"""What was registered: job types, capabilities, and the problems that plugins had.

The module's :data:`default_registry` is filled by the decorators when a plugin is imported. While discovery
loads plugins, registrations go into a registry of its own, which replaces the contents of the default one
only when all is loaded; a thread that looks something up sees the old contents or the new ones, never half of
them.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jobrunner.errors import PluginError, UnknownCapability, UnknownJobType
from jobrunner.model import JOB_ID, Json, Posting, Priority
from jobrunner.plugins.json_limits import shorten
from jobrunner.policies import NO_POLICIES, Hold, Policies

if TYPE_CHECKING:
    from taskflow.flow import Flow

    from jobrunner.plugins.parameters import ParameterSet
    from jobrunner.plugins.soundness import SoundFlows

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
BUILTIN = "builtin"
SHOWN_PROBLEMS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class JobType:
    """Something that can be posted: a named flow factory with typed parameters, or a function of the classic
    form.
    """

    name: str
    factory: Callable[..., Any] | None = None
    """The flow factory; its parameters are the job's. None for the classic form."""
    classic: Callable[..., Any] | None = None
    """The function that parses its own arguments and calls ``post_job``. None for the typed form."""
    module: str
    package: str
    """The plugin's package: the only place from which a posting of the classic form may name a factory."""
    source: str
    """Where the plugin comes from: ``builtin``, a directory, or an installed distribution."""
    description: str = ""
    capabilities: tuple[str, ...] = ()
    timeout: float | None = None
    engine: str = "serial"
    max_workers: int | None = None
    priority: Priority | None = None
    policies: Policies = NO_POLICIES
    """Those of its jobs, where a posting says nothing else."""
    holds: tuple[Hold, ...] = ()
    """The semaphores that each of its jobs holds while it runs."""
    unique: bool | tuple[str, ...] = False
    """Of open jobs with the same parameters, or the same of those named here, there is one at most."""

    @property
    def wants_spares(self) -> bool:
        """Whether its jobs run in processes of their own, of which some may wait for them."""
        run = self.policies.run
        return run is not None and run.own_process and run.user is None

    @property
    def is_classic(self) -> bool:
        return self.classic is not None

    @property
    def function(self) -> Callable[..., Any]:
        """The decorated function, whichever form it has."""
        function = self.factory or self.classic
        assert function is not None
        return function

    @property
    def where(self) -> str:
        return f"{self.module}:{self.function.__qualname__}"

    @cached_property
    def parameters(self) -> ParameterSet:
        """The typed parameters; the classic form has none, as it parses its own arguments.

        Raises PluginError if an annotation cannot be read.
        """
        from jobrunner.plugins.parameters import ParameterSet

        return (
            ParameterSet.from_factory(self.factory, owner=self.name)
            if self.factory
            else ParameterSet(owner=self.name)
        )

    def accept(self, posting: Posting) -> Posting:
        """The posting as it is stored: parameters validated, defaults filled in.

        Raises InvalidParameters, PostingTooLarge, or InvalidFlow for a factory that the type may not run.
        """
        from jobrunner.plugins import classic

        if self.is_classic:
            return classic.accept(self, posting)
        if posting.factory is not None:
            raise classic.not_classic(self)
        return replace(
            posting, parameters=self.parameters.validate(posting.parameters, refers=bool(posting.after))
        )

    def build(self, parameters: Mapping[str, Json], factory: Mapping[str, Json] | None = None) -> Flow:
        """The flow of a job with these stored parameters; ``factory`` is that of a classic posting.

        Raises InvalidParameters if the parameters do not fit the factory any more, InvalidFlow if it fails or
        makes something that is no flow, or if a classic posting's factory is none of the type's own plugin.
        """
        from jobrunner.plugins import building, classic

        if factory is not None or self.is_classic:
            return classic.build(self, factory)
        return building.build(self, parameters)

    def require_sound(
        self, parameters: Mapping[str, Json], factory: Mapping[str, Json] | None = None
    ) -> None:
        """Raise what is wrong with the flow of a job with these stored parameters: it is built and compiled.

        Not so if that was done a moment ago, see soundness.py. Raises what :meth:`build` and ``check_flow`` raise.
        """
        from jobrunner.plugins import building
        from jobrunner.plugins.importing import stdout_to_stderr
        from jobrunner.plugins.soundness import key_of

        key = key_of(parameters, factory)
        if not self._sound_flows.holds(key):
            with stdout_to_stderr():
                flow = self.build(parameters, factory)
            building.check_flow(flow, [JOB_ID, *self.store(parameters)])
            self._sound_flows.add(key)

    @cached_property
    def _sound_flows(self) -> SoundFlows:
        from jobrunner.plugins.soundness import SoundFlows

        return SoundFlows()

    def store(self, parameters: Mapping[str, Json]) -> dict[str, Json]:
        """What the flow finds in its store: the parameters in their JSON form, under their own names."""
        return dict(parameters) if self.is_classic else self.parameters.complete(parameters)

    def run_classic(self, args: Sequence[str] | None = None) -> Any:
        """Call the function of the classic form; what it posts belongs to this type. Returns what it
        returns.
        """
        from jobrunner.plugins import classic

        return classic.run(self, args)


@dataclass(frozen=True, kw_only=True, eq=False)
class Capability:
    """A named predicate that a node evaluates to tell whether it may run a job."""

    name: str
    predicate: Callable[..., Any]
    module: str
    package: str
    source: str
    description: str = ""
    timeout: float | None = None
    """Seconds after which an answer counts as no; None: what the evaluator has as its default."""

    @property
    def where(self) -> str:
        return f"{self.module}:{self.predicate.__qualname__}"


@dataclass(frozen=True, kw_only=True)
class PluginProblem:
    """Something that is wrong with a plugin, for people to read."""

    source: str
    where: str
    """The module, or the file or directory where there is no module yet."""
    message: str
    traceback: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass
class _Contents:
    job_types: dict[str, JobType] = field(default_factory=dict)
    capabilities: dict[str, Capability] = field(default_factory=dict)
    problems: list[PluginProblem] = field(default_factory=list)
    search_path: tuple[str, ...] | None = None


class Registry:
    """Job types and capabilities by name. The first of two that claim one name stays; the other is a
    problem.
    """

    def __init__(self) -> None:
        self._contents = _Contents()

    @property
    def job_types(self) -> Mapping[str, JobType]:
        return MappingProxyType(self._contents.job_types)

    @property
    def capabilities(self) -> Mapping[str, Capability]:
        return MappingProxyType(self._contents.capabilities)

    @property
    def problems(self) -> Sequence[PluginProblem]:
        return tuple(self._contents.problems)

    @property
    def search_path(self) -> tuple[str, ...] | None:
        """Where discovery looked when it filled this registry; None if it has not, empty after a reset."""
        return self._contents.search_path

    @search_path.setter
    def search_path(self, searched: tuple[str, ...]) -> None:
        self._contents.search_path = searched

    def get_type(self, name: str) -> JobType:
        """The job type of that name; UnknownJobType tells of similar names and of plugins that did not
        load.
        """
        contents = self._contents
        try:
            return contents.job_types[name]
        except KeyError:
            message = f"there is no job type {shorten(name)}" + _similar(name, contents.job_types)
            hint = self._where_it_might_be(name, "`jobrunner types` lists all")
            raise UnknownJobType(message, hint=hint) from None

    def get_capability(self, reference: str) -> Capability:
        """The capability that a reference (``name`` or ``name:argument``) names; UnknownCapability if there
        is none.
        """
        contents = self._contents
        name = reference.partition(":")[0]
        try:
            return contents.capabilities[name]
        except KeyError:
            message = f"there is no capability {shorten(name)}" + _similar(name, contents.capabilities)
            listed = ", ".join(sorted(contents.capabilities)) or "none"
            hint = self._where_it_might_be(name, f"those there are: {listed}")
            raise UnknownCapability(message, hint=hint) from None

    def add_type(self, job_type: JobType) -> bool:
        """Register it; False if another has the name, which is then a problem."""
        return self._add(self._contents.job_types, job_type, "job type")

    def add_capability(self, capability: Capability) -> bool:
        """Register it; False if another has the name, which is then a problem."""
        return self._add(self._contents.capabilities, capability, "capability")

    def add_problem(self, problem: PluginProblem) -> None:
        if problem not in self._contents.problems:
            self._contents.problems.append(problem)

    def withdraw(self, package: str) -> None:
        """Forget what a plugin registered: it failed further down, so none of it can be relied on."""
        contents = self._contents
        contents.job_types = {name: one for name, one in contents.job_types.items() if one.package != package}
        contents.capabilities = {
            name: one for name, one in contents.capabilities.items() if one.package != package
        }

    def adopt(self, other: Registry) -> None:
        """Take over the contents of another registry, at once."""
        self._contents = other._contents

    def reset(self) -> None:
        """Forget everything; the next ``load_plugins`` imports the plugins anew."""
        self._contents = _Contents(search_path=())

    def _add(self, names: dict[str, Any], new: JobType | Capability, kind: str) -> bool:
        known = names.get(new.name)
        if known is None or known.where == new.where:
            names[new.name] = new
            return True
        message = (
            f"the {kind} {new.name!r} of {new.where} ({new.source}) is left out, because {known.where} "
            f"({known.source}) has that name already: give one of them another name"
        )
        self.add_problem(PluginProblem(source=new.source, where=new.module, message=message))
        return False

    def _where_it_might_be(self, name: str, listed: str) -> str:
        problems = sorted(self._contents.problems, key=lambda problem: name not in problem.where)
        if not problems:
            return f"{listed}; plugins are looked for in flows/ and on JOBRUNNER_FLOWS"
        shown = "; ".join(str(problem) for problem in problems[:SHOWN_PROBLEMS])
        return f"it may be in a plugin that has a problem ({shown}): `jobrunner doctor` tells more"


def _similar(name: str, known: Mapping[str, object]) -> str:
    matches = difflib.get_close_matches(name, known, n=3)
    return f": did you mean {' or '.join(matches)}?" if matches else ""


default_registry = Registry()


# Where registrations go, and what plugin a module belongs to


@dataclass(frozen=True, kw_only=True)
class Loading:
    """A load under way: the registry being filled, and the source of each plugin package."""

    registry: Registry
    sources: Mapping[str, str]


_loading: ContextVar[Loading | None] = ContextVar("loading", default=None)


@contextlib.contextmanager
def registering(loading: Loading) -> Iterator[None]:
    """While it lasts, what this thread registers goes to ``loading.registry``."""
    token = _loading.set(loading)
    try:
        yield
    finally:
        _loading.reset(token)


def current_registry() -> Registry:
    """Where a registration made now goes."""
    loading = _loading.get()
    return loading.registry if loading else default_registry


def origin_of(module: str) -> tuple[str, str]:
    """The plugin package that a module belongs to, and where that comes from."""
    loading = _loading.get()
    package = module
    while loading and package:
        if package in loading.sources:
            return package, loading.sources[package]
        package = package.rpartition(".")[0]
    return plugin_package(module), getattr(sys.modules.get(module), "__file__", None) or module


def plugin_package(module: str) -> str:
    """``flows.<group>.<job>`` for what is below it; elsewhere the module, or its package if it is named
    ``flow``.
    """
    parts = module.split(".")
    if parts[0] == "flows" and len(parts) > 3:
        return ".".join(parts[:3])
    return ".".join(parts[:-1]) if len(parts) > 1 and parts[-1] == "flow" else module


def check_name(name: object, kind: str) -> str:
    """The name, if it can be one; else PluginError."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise PluginError(
        f"{name!r} cannot be the name of a {kind}: names have up to 128 letters, digits, '_', '.' and '-', "
        f"and begin with a letter or '_'"
    )
