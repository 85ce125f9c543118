"""The fingerprint of a flow: the same on every machine, another whenever it would matter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from taskflow import engines, retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.task import Task

from jobrunner.conductor.engine import shape
from jobrunner.conductor.engine.shape import fingerprint
from jobrunner.errors import InvalidFlow

ROOT = Path(__file__).parents[3]


class Make(Task):  # type: ignore[misc]
    default_provides = "made"

    def execute(self, job_id: str) -> str:
        return job_id


class Use(Task):  # type: ignore[misc]
    def execute(self, made: str, colour: str = "red") -> None:
        pass


class UseToo(Use):
    pass


class UseAll(Task):  # type: ignore[misc]
    def execute(self, **given: str) -> None:
        pass


def printed(flow: Any) -> str:
    engine = engines.load(flow, store={"job_id": "", "other": ""})
    engine.compile()
    return fingerprint(engine.compilation.execution_graph)


def plain(*tasks: Any) -> Any:
    return linear_flow.Flow("f").add(*tasks)


def use(version: tuple[int, int]) -> Use:
    found = Use("use")
    found.version = version
    return found


def test_the_same_flow_has_the_same_whatever_it_is_called() -> None:
    flows = [linear_flow.Flow(str(uuid.uuid4())).add(Make("make"), Use("use")) for _ in range(2)]
    assert len({printed(flow) for flow in flows}) == 1


@pytest.mark.parametrize(
    "other",
    [
        plain(Make("make"), UseToo("use")),
        plain(Make("make"), Use("use it")),
        plain(Make("make"), use((2, 0))),
        plain(Make("make"), Use("use", rebind={"made": "other"})),
        plain(Make("make", provides=("made", "more")), Use("use")),
        plain(Make("make", rebind={"job_id": "other"}), Use("use")),
        plain(Make("make"), Use("use"), Use("again")),
        plain(linear_flow.Flow("inner").add(Make("make")), Use("use")),
        linear_flow.Flow("f", retry=retry.Times(2, "tries")).add(Make("make"), Use("use")),
        unordered_flow.Flow("f").add(Make("make"), Use("use", rebind={"made": "other"})),
    ],
    ids=range(10),
)
def test_another_flow_has_another(other: Any) -> None:
    assert printed(other) != printed(plain(Make("make"), Use("use")))


def test_what_comes_after_what_counts() -> None:
    def flow(kind: Any) -> Any:
        return kind("f").add(Make("a", provides="x"), Make("b", provides="y"))

    assert len({printed(flow(kind)) for kind in (linear_flow.Flow, unordered_flow.Flow)}) == 2


def test_of_many_changed_atoms_some_are_named() -> None:
    began, present = [f"s{number:02}" for number in range(13)], ("t",)
    with pytest.raises(InvalidFlow, match=r"s00, .*, s09, 3 more are gone; t is new\."):
        shape._require_same_atoms(began, present)
    with pytest.raises(InvalidFlow, match=r": s00, s01 are gone; t is new\."):
        shape._require_same_atoms(began[:2], present)


def test_it_does_not_depend_on_the_process() -> None:
    """Sets, which TaskFlow uses, have another order in each process."""
    prints = {
        subprocess.run(
            [sys.executable, "-c", f"from {__name__} import big, printed; print(printed(big()))"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(3)
    }
    assert prints == {f"{printed(big())}\n"}


def big() -> Any:
    makers = [Make(f"make{n}", provides=f"made{n}") for n in range(6)]
    users = [UseAll(f"use{n}", requires=[f"made{m}" for m in range(6) if m != n]) for n in range(6)]
    side = unordered_flow.Flow("side").add(Make("s1", provides="t1"), Make("s2", provides="t2"))
    inner = linear_flow.Flow("inner").add(side, Use("end", rebind={"made": "t1"}))
    return graph_flow.Flow("big", retry=retry.Times(3, "tries")).add(*makers, *users, inner)


def test_it_costs_some_microseconds() -> None:
    engine = engines.load(plain(Make("make")), store={"job_id": ""})
    engine.compile()
    graph = engine.compilation.execution_graph
    took = []
    for _ in range(200):
        began = time.perf_counter()
        fingerprint(graph)
        took.append(time.perf_counter() - began)
    assert min(took) < 100e-6  # 8 on an idle machine; a job of one atom takes 2,000
