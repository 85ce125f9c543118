"""From stored parameters to a flow, and from a flow to the certainty that it can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from jobrunner.errors import InvalidFlow, InvalidParameters, JobrunnerError
from jobrunner.model import Json
from jobrunner.plugins.json_limits import shorten

if TYPE_CHECKING:
    from taskflow.engines.action_engine.compiler import Compilation
    from taskflow.flow import Flow

    from jobrunner.plugins.registry import JobType


def build(job_type: JobType, parameters: Mapping[str, Json]) -> Flow:
    """Call the factory with typed parameters; InvalidFlow if it fails, or makes something that is no flow."""
    assert job_type.factory is not None
    return call_factory(job_type.factory, job_type.name, kwargs=job_type.parameters.decode(parameters))


def call_factory(
    factory: Callable[..., Any],
    name: str,
    *,
    args: Collection[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Flow:
    """The flow that the factory makes; a single task becomes a flow of one.

    Raises InvalidParameters if the factory raises ValueError, InvalidFlow if it fails otherwise.
    """
    try:
        product = factory(*args, **(kwargs or {}))
    except JobrunnerError:
        raise
    except ValueError as error:  # how a factory refuses what its types let through
        raise InvalidParameters(f"{name}: {error}") from error
    except SystemExit as error:
        raise InvalidFlow(f"{_maker(name, factory)} called sys.exit({error.code!r})") from error
    except KeyboardInterrupt:  # a person's, who posts
        raise
    except BaseException as error:  # whatever it is: CancelledError of asyncio is no Exception either
        raise InvalidFlow(f"{_maker(name, factory)} failed: {type(error).__name__}: {error}") from error
    return as_flow(product, _maker(name, factory))


def _maker(name: str, factory: Callable[..., Any]) -> str:
    function = factory.__qualname__
    return f"the flow factory of {name}" + (f", {function}," if function != name else "")


def as_flow(product: object, maker: str) -> Flow:
    from taskflow.flow import Flow
    from taskflow.patterns import linear_flow
    from taskflow.task import Task

    if isinstance(product, Flow):
        return product
    if isinstance(product, Task):
        return linear_flow.Flow(product.name).add(product)
    advice = "; did it forget to return the flow?" if product is None else ""
    raise InvalidFlow(
        f"{maker} returned {shorten(product)} of type {type(product).__name__}, "
        f"not a TaskFlow flow or task{advice}"
    )


def compile_flow(flow: Flow) -> Compilation:
    """TaskFlow's compilation of the flow; InvalidFlow if it does not compile."""
    from taskflow.engines.action_engine.compiler import PatternCompiler

    try:
        return PatternCompiler(flow).compile()
    except Exception as error:
        raise InvalidFlow(f"the flow {flow.name!r} does not compile: {error}") from error


def check_flow(flow: Flow, provided: Collection[str]) -> None:
    """InvalidFlow if the flow cannot run: it does not compile, is empty, has two atoms of one name, or needs
    what neither its atoms nor its store (which holds the ``provided`` names) provide.
    """
    nodes = compile_flow(flow).execution_graph.nodes(data="kind")
    atoms = [node for node, kind in nodes if kind in ("task", "retry")]
    if not any(kind == "task" for _, kind in nodes):
        raise InvalidFlow(f"the flow {flow.name!r} has no tasks")
    if twice := [name for name, count in Counter(atom.name for atom in atoms).items() if count > 1]:
        raise InvalidFlow(
            f"the flow {flow.name!r} has more than one atom named {', '.join(sorted(twice))}",
            hint="give each task and retry a name of its own: what is recorded of it is found by its name",
        )
    if missing := sorted(set(flow.requires) - set(provided)):
        raise InvalidFlow(
            f"the flow {flow.name!r} needs {', '.join(_who_needs(name, atoms) for name in missing)}, "
            f"which nothing provides",
            hint="make it a parameter of the job, put it into the store, or let an earlier task provide it",
        )


def _who_needs(name: str, atoms: Collection[Any]) -> str:
    users = sorted(atom.name for atom in atoms if name in atom.requires)
    return f"{name!r} (for {', '.join(users)})" if users else repr(name)
