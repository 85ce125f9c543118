"""The classic form: a registered function parses its own arguments and calls ``post_job(flow_factory, ...)``.

Such a posting names the factory, and a name that comes from a database must not become a way to run code. So
the conductor resolves it only inside of the plugin of the job type that it was posted as: a plain, public
function, in a module of that plugin, defined in that plugin. The same rule holds when posting, so that
mistakes show at once.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from jobrunner.errors import InvalidFlow, InvalidParameters, UnknownJobType
from jobrunner.model import Json, Posting
from jobrunner.plugins import building
from jobrunner.plugins.decorators import capability_names
from jobrunner.plugins.importing import is_inside
from jobrunner.plugins.json_limits import check_json, check_key, check_size, shorten
from jobrunner.plugins.registry import JobType, Registry, current_registry, plugin_package

if TYPE_CHECKING:
    from taskflow.flow import Flow

FORM = '{"name": "<module>:<function>", "args": [...], "kwargs": {...}}'
FIELDS = {"name", "args", "kwargs"}

running_classic_type: ContextVar[JobType | None] = ContextVar("running_classic_type", default=None)
"""The job type whose function is being called; what it posts is of this type."""


def run(job_type: JobType, args: Sequence[str] | None) -> Any:
    """Call the type's function; what it posts belongs to the type."""
    if job_type.classic is None:
        raise InvalidFlow(f"{job_type.name} is a flow factory, it does not parse arguments of its own")
    token = running_classic_type.set(job_type)
    try:
        return job_type.classic(None if args is None else list(args))
    finally:
        running_classic_type.reset(token)


# Posting


def classic_posting(
    registry: Registry,
    flow_factory: Callable[..., Any],
    store: Mapping[str, Any] | None = None,
    factory_args: Iterable[Any] | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
    capabilities: Iterable[str | Callable[..., Any]] = (),
) -> Posting:
    """The posting that a call of ``post_job`` asks for.

    A factory that is itself a job type (``@job``) is posted as that, its arguments being the parameters. Any
    other is posted as the type whose function is running, or as the only classic type of the factory's
    plugin. The posting names the capabilities of the call; those of its type are for whoever posts it to add.

    Raises UnknownJobType, UnknownCapability, InvalidParameters, PostingTooLarge, or InvalidFlow for a factory
    that no conductor would accept.
    """
    names = capability_names(capabilities)
    for name in names:
        registry.get_capability(name)
    args, kwargs = list(factory_args or ()), dict(factory_kwargs or {})
    typed = next((one for one in registry.job_types.values() if one.factory is flow_factory), None)
    if typed is not None:
        raw = _bound(typed, args, kwargs, store or {})
        return Posting(type=typed.name, parameters=typed.parameters.validate(raw), capabilities=names)
    job_type = running_classic_type.get() or _only_type_of(registry, flow_factory)
    factory = {"name": _factory_name(job_type, flow_factory), "args": args, "kwargs": kwargs}
    return accept(
        job_type, Posting(type=job_type.name, parameters=store or {}, factory=factory, capabilities=names)
    )


def accept(job_type: JobType, posting: Posting) -> Posting:
    """The posting as it is stored, its factory checked as the conductor will."""
    name, args, kwargs = _read(job_type, posting.factory)
    resolve(job_type, name)
    what = f"the posting of {job_type.name}"
    for where, keys in (
        (f"the store of {job_type.name}", posting.parameters),
        (f"the call of {name}", kwargs),
    ):
        for key in keys:
            check_key(key, where)
    parameters = {
        key: check_json(value, f"{shorten(key)} in the store of {job_type.name}")
        for key, value in posting.parameters.items()
    }
    factory = {
        "name": name,
        "args": [check_json(arg, f"argument {number} of {name}") for number, arg in enumerate(args, start=1)],
        "kwargs": {
            key: check_json(value, f"argument {shorten(key)} of {name}") for key, value in kwargs.items()
        },
    }
    check_size([parameters, factory], what)
    return replace(posting, parameters=parameters, factory=factory)


def not_classic(job_type: JobType) -> InvalidFlow:
    return InvalidFlow(
        f"{job_type.name} has a flow factory of its own, so a posting of it cannot name another"
    )


def _bound(
    job_type: JobType, args: list[Any], kwargs: dict[str, Any], store: Mapping[str, Any]
) -> dict[str, Any]:
    assert job_type.factory is not None
    try:
        given = inspect.signature(job_type.factory).bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise InvalidParameters(f"the arguments do not fit {job_type.name}: {error}") from None
    return {**store, **given}


def _only_type_of(registry: Registry, factory: Callable[..., Any]) -> JobType:
    module = getattr(factory, "__module__", None) or "?"
    found = [one for one in registry.job_types.values() if one.is_classic and is_inside(module, one.package)]
    if len(found) == 1:
        return found[0]
    name = f"{module}:{getattr(factory, '__qualname__', shorten(factory))}"
    if found:
        names = ", ".join(sorted(one.name for one in found))
        raise UnknownJobType(
            f"it is not clear as which job type {name} is posted: its plugin registers {names}",
            hint="call post_job from within the function that is registered, as `jobrunner post <type>` does",
        )
    raise UnknownJobType(
        f"{name} cannot be posted: its plugin, {plugin_package(module)}, registers no job type",
        hint="decorate the factory with @job, or the function that calls post_job with @register_job()",
    )


def _factory_name(job_type: JobType, factory: Callable[..., Any]) -> str:
    if not isinstance(factory, FunctionType):
        raise InvalidFlow(
            f"{shorten(factory)} cannot be the flow factory of a {job_type.name} job: it is no plain function"
        )
    name = f"{factory.__module__}:{factory.__qualname__}"
    if resolve(job_type, name) is not factory:
        raise InvalidFlow(
            f"{name} is not the function that was given to post_job, but another of the same name"
        )
    return name


# On the conductor


def build(job_type: JobType, factory: Mapping[str, Json] | None) -> Flow:
    """The flow that the posting's factory makes, if the job type may run it; else InvalidFlow."""
    name, args, kwargs = _read(job_type, factory)
    return building.call_factory(resolve(job_type, name), job_type.name, args=args, kwargs=kwargs)


def resolve(job_type: JobType, name: str) -> Callable[..., Any]:
    """The function of that name (``module:function``), if it belongs to the job type's plugin; else
    InvalidFlow.
    """
    if not job_type.is_classic:
        raise not_classic(job_type)
    module_name, _, attribute = name.partition(":")
    _check_path(job_type, name, module_name, attribute)
    found = vars(_module(job_type, name, module_name)).get(attribute)
    if type(found) is not FunctionType:
        raise _refused(job_type, name, "there is no plain function of that name")
    if not is_inside(found.__module__ or "", job_type.package):
        raise _refused(job_type, name, f"it is defined in {found.__module__}")
    if inspect.iscoroutinefunction(found) or inspect.isgeneratorfunction(found):
        raise _refused(job_type, name, "it is async, or a generator")
    if any(one.classic is found for one in (job_type, *current_registry().job_types.values())):
        raise _refused(job_type, name, "it is the function that posts, not the one that makes the flow")
    return found


def _check_path(job_type: JobType, name: str, module: str, attribute: str) -> None:
    if "<" in attribute or "." in attribute:
        raise _refused(
            job_type, name, "it is defined inside of another function or class; move it to module level"
        )
    if not is_inside(module, job_type.package):
        raise _refused(job_type, name, f"only functions of its own plugin, {job_type.package}, can be")
    inner = module[len(job_type.package) + 1 :]
    parts = [*inner.split("."), attribute] if inner else [attribute]
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise _refused(job_type, name, "private names cannot be posted")


def _module(job_type: JobType, name: str, module: str) -> Any:
    if module in sys.modules:
        return sys.modules[module]
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise _refused(
            job_type, name, f"{module} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _read(job_type: JobType, factory: Mapping[str, Json] | None) -> tuple[str, list[Json], dict[str, Json]]:
    given = factory if isinstance(factory, Mapping) else {}
    name, args, kwargs = given.get("name"), given.get("args", []), given.get("kwargs", {})
    well_formed = isinstance(name, str) and isinstance(args, (list, tuple)) and isinstance(kwargs, Mapping)
    if not well_formed or not all(isinstance(key, str) for key in kwargs) or set(given) - FIELDS:
        raise InvalidFlow(
            f"a posting of {job_type.name} has to name the function that makes the flow, as {FORM}; "
            f"it says {shorten(factory)}"
        )
    return str(name), list(args), dict(kwargs)


def _refused(job_type: JobType, name: str, reason: str) -> InvalidFlow:
    return InvalidFlow(f"{shorten(name)} cannot be the flow factory of a {job_type.name} job: {reason}")
