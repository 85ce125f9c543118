"""``python -m bench.report``: fill the tables of docs/benchmarks.md from the newest results."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from bench import machine, results, table
from bench.peers.table import HEAD as PEERS_HEAD
from bench.peers.table import cells as peer_cells
from bench.place import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    for kind, made in (("table", _figures), ("peers", _peers)):
        newest = results.newest(kind)
        if newest is not None:
            page = _replaced(page, kind, made(newest) + _origin(newest))
            print(f"{kind}: from {newest['file']}")
        else:
            print(f"{kind}: there are no results yet", file=sys.stderr)
    PAGE.write_text(page, encoding="utf-8")
    return 0


def _figures(newest: dict[str, Any]) -> str:
    figures = newest["figures"]
    text = table.as_markdown(table.HEAD, [table.figure_cells(figure) for figure in figures])
    return "\n\n".join([text, *table.errors(figures)])


def _peers(newest: dict[str, Any]) -> str:
    return table.as_markdown(PEERS_HEAD, [peer_cells(peer) for peer in newest["peers"]])


def _origin(newest: dict[str, Any]) -> str:
    lines = [f"Measured {newest['measured']}; data: `bench/results/{newest['file']}`."]
    picture = Path(newest["file"]).with_suffix(".svg")
    chart = f"\n\n![chart](../bench/results/{picture})" if (results.RESULTS / picture).exists() else ""
    return "\n\n" + "\n".join([*lines, *machine.as_lines(newest["machine"])]) + chart


def _replaced(page: str, name: str, text: str) -> str:
    """The page with what stands between this name's two marks replaced; raises ValueError if they are not there."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE} has no {begin} ... {end}")
    return f"{page[: found.start()]}{begin}\n\n{text}\n\n{end}{page[found.end() :]}"


if __name__ == "__main__":
    sys.exit(main())
