"""What a flow is made of, to tell whether a half-done one is still the same: its atoms, and a fingerprint of them.

The fingerprint covers the atoms' names, classes and versions, what they need and provide, and what comes after what;
not the text of their code. TaskFlow itself goes by names alone: it would run a renamed atom again, and give a changed
one results that it does not understand.

Names of flows are left out, since a program may make new ones each time. Cost: 8 microseconds for a flow of one atom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.atom import Atom

from jobrunner.conductor.engine.compiler import JobCompiler
from jobrunner.errors import InvalidFlow
from jobrunner.model import Json
from jobrunner.persistence.flows import META_ORDER, META_PRINT

if TYPE_CHECKING:
    from jobrunner.conductor.engine.engine import JobEngine

_WHAT_TO_DO = (
    "Start a node with the code that it began with; or let it go on with the present code, by `jobrunner adopt`; or "
    "end it with `jobrunner cancel --no-revert`."
)
NAMES_TOLD = 10
"""Atoms that are named to a person; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A compiled flow's atoms, by name, in an order in which they can run; and its fingerprint."""

    order: tuple[str, ...]
    print: str

    def to_meta(self) -> dict[str, Json]:
        """What is kept of it with the flow."""
        return {META_ORDER: list(self.order), META_PRINT: self.print}

    def require_same(self, meta: Mapping[str, Any]) -> None:
        """Raise InvalidFlow if a flow that was recorded so is another one.

        Flows that were recorded before there were fingerprints are compared by the names of their atoms.
        """
        _require_same_atoms(meta.get(META_ORDER), self.order)
        recorded = meta.get(META_PRINT)
        if recorded is not None and recorded != self.print:
            raise InvalidFlow(
                "Its atoms have the names that they had when it began, but their classes, their versions, what they "
                f"need and provide, or their order have changed. {_WHAT_TO_DO}"
            )


def shape_of(engine: JobEngine) -> Shape:
    """The shape of the engine's flow, which is compiled."""
    order = tuple(atom.name for atom in engine.atoms_in_order())
    return Shape(order=order, print=fingerprint(engine.compilation.execution_graph))


def shape_of_flow(flow: Any) -> Shape:
    """The shape of a flow that nobody runs yet; raises what TaskFlow raises for one that is none."""
    graph = JobCompiler(flow).compile().execution_graph
    order = tuple(node.name for node in graph.topological_sort() if isinstance(node, Atom))
    return Shape(order=order, print=fingerprint(graph))


def fingerprint(graph: Any) -> str:
    """32 hexadecimal digits: the same for the same atoms and edges, on every machine."""
    names: dict[Any, str] = {}
    atoms: list[str] = []
    for node in graph.nodes:
        if isinstance(node, Atom):
            names[node] = node.name
            atoms.append(_described(node))
        else:  # where a flow begins or ends
            names[node] = f"\\0{len(names) - len(atoms)}"
    atoms.sort()
    edges = sorted((names[before], names[after]) for before, after in graph.edges)
    return hashlib.blake2b(repr((atoms, edges)).encode(), digest_size=16).hexdigest()


def _described(atom: Any) -> str:
    kind = type(atom)
    needs = sorted(atom.rebind.items())
    optional = sorted(atom.optional)
    gives = sorted(atom.save_as.items(), key=repr) if atom.save_as else []
    version = tuple(atom.version) if isinstance(atom.version, (list, tuple)) else atom.version
    return repr((atom.name, kind.__module__, kind.__qualname__, version, needs, optional, gives))


def _told(names: list[str], what: str) -> str:
    shown = [*names[:NAMES_TOLD], f"{len(names) - NAMES_TOLD} more"] if len(names) > NAMES_TOLD + 1 else names
    return f"{', '.join(shown)} {'is' if len(names) == 1 else 'are'} {what}"


def _require_same_atoms(recorded: list[str] | None, present: tuple[str, ...]) -> None:
    """A flow that is half done goes on only with the atoms that it began with: a renamed one would run again."""
    if recorded is None or sorted(recorded) == sorted(present):
        return
    gone, new = sorted(set(recorded) - set(present)), sorted(set(present) - set(recorded))
    parts = [_told(names, what) for names, what in ((gone, "gone"), (new, "new")) if names]
    raise InvalidFlow(f"Its atoms are not those that it began with: {'; '.join(parts)}. {_WHAT_TO_DO}")
