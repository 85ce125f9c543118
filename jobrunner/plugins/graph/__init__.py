"""A flow as people can look at it: a tree for the terminal; a graph as DOT, Mermaid or SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobrunner.errors import UsageError
from jobrunner.plugins.graph.dot import to_dot
from jobrunner.plugins.graph.drawing import Drawing, draw
from jobrunner.plugins.graph.mermaid import to_mermaid
from jobrunner.plugins.graph.svg import to_svg
from jobrunner.plugins.graph.tree import to_tree

if TYPE_CHECKING:
    from taskflow.flow import Flow

RENDERERS = {"tree": to_tree, "dot": to_dot, "mermaid": to_mermaid, "svg": to_svg}
FORMS = tuple(RENDERERS)

__all__ = ["FORMS", "Drawing", "draw", "render"]


def render(flow: Flow, form: str = "tree") -> str:
    """The compiled flow as text that ends in a newline, in one of FORMS; InvalidFlow if it does not
    compile.
    """
    if form not in RENDERERS:
        raise UsageError(f"a flow cannot be shown as {form!r}; it can as {', '.join(FORMS)}")
    return RENDERERS[form](draw(flow))
