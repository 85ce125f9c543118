"""Results as files: JSON for comparing, SVG for looking at."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.plot import BAD, GOOD, Bar, bar_chart
from bench.table import number

RESULTS = Path(__file__).parent / "results"


def write_figures(figures: list[dict[str, Any]], machine: dict[str, Any], *, kind: str) -> Path:
    """Write a run of the table; returns the JSON file, the plot lies beside it."""
    path = _write(kind, {"machine": machine, "figures": figures})
    with_goal = [figure for figure in figures if figure["of_goal"]]
    if with_goal:
        bars = [_bar_of(figure) for figure in with_goal]
        note = "1 is the goal (dashed), 10 is ten times better; both scales are logarithmic"
        bar_chart(path.with_suffix(".svg"), "How far jobrunner got beyond its goals", note, bars, mark=1.0)
    return path


def write_peers(peers: list[dict[str, Any]], machine: dict[str, Any]) -> Path:
    """Write a run of the peers; returns the JSON file, the plot lies beside it."""
    path = _write("peers", {"machine": machine, "peers": peers})
    measured = [peer for peer in peers if peer.get("jobs_per_s")]
    if measured:
        bars = [
            Bar(
                name=peer["name"],
                value=peer["jobs_per_s"],
                text=f"{number(peer['jobs_per_s'])}/s; idle {number(peer['idle_p50_ms'])} ms",
                colour=GOOD if peer["name"].startswith("jobrunner") else "#90a4ae",
            )
            for peer in measured
        ]
        note = "no-op jobs a second, one worker process, and the median from post to start when idle"
        bar_chart(path.with_suffix(".svg"), "Beside other ways to run jobs", note, bars)
    return path


def newest(kind: str) -> dict[str, Any] | None:
    """The newest results of this kind: "table" of either length, or "peers"."""
    kinds = ("full", "bench") if kind == "table" else (kind,)
    files = sorted(file for name in kinds for file in RESULTS.glob(f"*-{name}.json"))
    return json.loads(files[-1].read_text(encoding="utf-8")) | {"file": files[-1].name} if files else None


def _bar_of(figure: dict[str, Any]) -> Bar:
    good = figure["of_goal"] >= 1
    text = f"{number(figure['value'])} {figure['unit']}"
    return Bar(
        name=figure["title"], value=max(figure["of_goal"], 0.01), text=text, colour=GOOD if good else BAD
    )


def _write(kind: str, content: dict[str, Any]) -> Path:
    now = datetime.now(timezone.utc)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M}-{kind}.json"
    path.write_text(
        json.dumps({"measured": now.isoformat(timespec="seconds"), "kind": kind, **content}, indent=1) + "\n",
        encoding="utf-8",
    )
    return path
