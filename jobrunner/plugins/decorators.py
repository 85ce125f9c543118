"""The decorators that plugins use; they register what they decorate and return it unchanged."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from jobrunner.errors import PluginError
from jobrunner.model import Priority
from jobrunner.plugins.declared import (
    is_critical,
    read_engine,
    read_holds,
    read_placement,
    read_priority,
    read_retry,
    read_run_limits,
    read_timeout,
    read_unique,
)
from jobrunner.plugins.docstrings import first_paragraph
from jobrunner.plugins.registry import (
    Capability,
    JobType,
    check_name,
    current_registry,
    origin_of,
)
from jobrunner.plugins.run_limits import Duration
from jobrunner.policies import Hold, Policies, RetryPolicy

Function = TypeVar("Function", bound=Callable[..., Any])
Names = Iterable[str | Callable[..., Any]]


@overload
def job(name: Function, /) -> Function: ...


@overload
def job(
    name: str | None = None,
    *,
    capabilities: Names = (),
    timeout: Duration | None = None,
    engine: str = "serial",
    max_workers: int | None = None,
    priority: Priority | str | int | None = None,
    critical: bool = False,
    retry: int | RetryPolicy | None = None,
    isolation: str | None = None,
    memory: str | int | None = None,
    dead_after: Duration | None = None,
    dead_below: float | None = None,
    run_as: str | None = None,
    grace: Duration | None = None,
    description: str | None = None,
    holds: str | Hold | Iterable[str | Hold] = (),
    max_running: int | None = None,
    rate: str | None = None,
    unique: bool | Iterable[str] = False,
    prefer: str | None = None,
    failover: Duration | None = None,
) -> Callable[[Function], Function]: ...


def job(
    name: Any = None,
    *,
    capabilities: Names = (),
    timeout: Duration | None = None,
    engine: str = "serial",
    max_workers: int | None = None,
    priority: Priority | str | int | None = None,
    critical: bool = False,
    retry: int | RetryPolicy | None = None,
    isolation: str | None = None,
    memory: str | int | None = None,
    dead_after: Duration | None = None,
    dead_below: float | None = None,
    run_as: str | None = None,
    grace: Duration | None = None,
    description: str | None = None,
    holds: str | Hold | Iterable[str | Hold] = (),
    max_running: int | None = None,
    rate: str | None = None,
    unique: bool | Iterable[str] = False,
    prefer: str | None = None,
    failover: Duration | None = None,
) -> Any:
    """Register a flow factory as a job type: its parameters are the job's, its docstring's first paragraph
    the help.

    ``timeout`` is written as people do (``"2h"``), a number is seconds. ``engine`` is ``serial``, or
    ``parallel`` with up to ``max_workers`` atoms at once. ``retry`` is how often a job is run again by itself after it
    ended badly, or what ``jobrunner.retries`` makes. A ``critical`` job (or one of ``priority="CRITICAL"``) has the
    highest priority and is retried up to three times at least. ``holds`` names the semaphores that every job of the
    type holds while it runs (``"db"``, ``"db:2"``, ``"db:shared"``); ``max_running`` is how many of them run at once,
    ``rate`` how many start in a time (``"10/1m"``). Of ``unique`` jobs there is one open at most with the same
    parameters, or the same of those that are named. ``prefer`` names the node where its jobs run first; they go
    elsewhere at once if that takes none, and after ``failover`` (default: a minute) if it has not taken them by then.

    ``isolation="process"`` runs each job in a process of its own, and so does any of the limits after it: ``memory``
    (``"512MB"``) of all its processes, ``dead_after`` (``"10m"``) with less than ``dead_below`` per cent of a
    processor, ``run_as`` (``"user:group"``); ``grace`` is what it has between the request to stop and the kill.
    Raises PluginError for what cannot be registered.
    """
    if callable(name):
        return job()(name)
    limits = {
        "isolation": isolation, "memory": memory, "dead_after": dead_after, "dead_below": dead_below,
        "run_as": run_as, "grace": grace,
    }  # fmt: skip

    def register(factory: Function) -> Function:
        from jobrunner.plugins.parameters import check_signature

        _check_function(factory, "job")
        check_signature(factory)
        highest = critical or is_critical(priority)
        job_type = JobType(
            name=check_name(factory.__name__ if name is None else name, "job type"),
            factory=factory,
            description=description or first_paragraph(factory.__doc__),
            capabilities=capability_names(capabilities),
            timeout=read_timeout(timeout, factory),
            engine=read_engine(engine, max_workers, factory),
            max_workers=max_workers,
            priority=None if highest else read_priority(priority, factory),
            policies=Policies(
                retry=read_retry(retry, factory),
                placement=read_placement(prefer, failover, factory),
                critical=highest,
                run=read_run_limits(factory, **limits),
            ),
            holds=read_holds(name, holds, max_running, rate, factory),
            unique=read_unique(unique, factory),
            **_origin(factory),
        )
        current_registry().add_type(job_type)
        return factory

    return register


@overload
def register_job(name: Function, /) -> Function: ...


@overload
def register_job(name: str | None = None) -> Callable[[Function], Function]: ...


def register_job(name: Any = None) -> Any:
    """Register a function of the classic form: ``function(args=None)`` parses its arguments and calls
    ``post_job``. Raises PluginError for what cannot be registered.
    """
    if callable(name):
        return register_job()(name)

    def register(function: Function) -> Function:
        _check_function(function, "register_job")
        job_type = JobType(
            name=check_name(function.__name__ if name is None else name, "job type"),
            classic=function,
            description=first_paragraph(function.__doc__),
            **_origin(function),
        )
        current_registry().add_type(job_type)
        return function

    return register


@overload
def register_capability(name: Function, /) -> Function: ...


@overload
def register_capability(
    name: str | None = None, *, timeout: Duration | None = None
) -> Callable[[Function], Function]: ...


def register_capability(name: Any = None, *, timeout: Duration | None = None) -> Any:
    """Register a predicate over a job: ``predicate(job)`` or ``predicate(job, argument)``, true where it may
    run.

    With a second parameter it takes what follows the colon in ``name:argument``. It may return a Verdict to
    say why. An answer that takes longer than ``timeout`` (as people write it, or seconds) counts as no. Raises
    PluginError for what cannot be registered.
    """
    if callable(name):
        return register_capability()(name)

    def register(predicate: Function) -> Function:
        _check_function(predicate, "register_capability")
        capability = Capability(
            name=check_name(predicate.__name__ if name is None else name, "capability"),
            predicate=predicate,
            description=first_paragraph(predicate.__doc__),
            timeout=read_timeout(timeout, predicate),
            **_origin(predicate),
        )
        current_registry().add_capability(capability)
        return predicate

    return register


def capability_names(capabilities: Names | str | Callable[..., Any]) -> tuple[str, ...]:
    """Sorted references of capabilities that are given by name or as registered predicates; sorted, so that
    sets of the same names are one class of jobs in every process.

    Raises PluginError for a function that is not registered, or what is neither name nor function.
    """
    if isinstance(capabilities, str) or callable(capabilities):
        given = [capabilities]
    elif isinstance(capabilities, Iterable):
        given = list(capabilities)
    else:
        raise PluginError(f"{capabilities!r} are no capabilities: give names, or functions")
    return tuple(sorted({_capability_name(one) for one in given}))


def _capability_name(capability: object) -> str:
    if isinstance(capability, str):
        check_name(capability.partition(":")[0], "capability")
        return capability
    for known in current_registry().capabilities.values():
        if known.predicate is capability:
            return known.name
    raise PluginError(
        f"{capability!r} is not a capability: give a name, or a function with @register_capability()"
    )


def _check_function(function: object, decorator: str) -> None:
    if not inspect.isfunction(function):
        raise PluginError(f"@{decorator} decorates functions, and {function!r} is none")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise PluginError(
            f"@{decorator}: {function.__qualname__} has to be a plain function, not async or a generator"
        )


def _origin(function: Callable[..., Any]) -> dict[str, Any]:
    package, source = origin_of(function.__module__)
    return {"module": function.__module__, "package": package, "source": source}
