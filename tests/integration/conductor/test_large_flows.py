"""What a flow costs grows with its atoms, not with their square: counted in questions, not in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from taskflow.engines.action_engine import scopes
from taskflow.engines.action_engine.selector import Selector
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.storage import Storage

from jobrunner.conductor.engine import runtime
from jobrunner.model import JobState
from tests.support.runs import Note, Runs, raises

ATOMS = 60


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], list[Any]]:
    """Notes the calls of a method of TaskFlow's."""

    def counting(cls: type, name: str) -> list[Any]:
        calls: list[Any] = []
        original = getattr(cls, name)

        def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, name, noting)
        return calls

    return counting


def steps(number: int) -> list[Note]:
    return [Note(f"step{place}", []) for place in range(number)]


def test_few_atoms_are_looked_at_after_each(runs: Runs, count: Callable[[type, str], list[Any]]) -> None:
    looked_at = count(Selector, "_get_maybe_ready")

    job = runs.run(runs.post(lambda: linear_flow.Flow("flow").add(*steps(ATOMS))))

    assert job.state is JobState.SUCCEEDED
    assert len(looked_at) <= 4 * ATOMS


def test_failures_are_not_looked_for_among_all_atoms_for_each_that_is_reverted(
    runs: Runs, count: Callable[[type, str], list[Any]]
) -> None:
    searches = count(Storage, "_get_failures")
    broken = Note("broken", [], does=raises(ValueError("broken")))

    def make() -> linear_flow.Flow:
        return linear_flow.Flow("flow").add(unordered_flow.Flow("wide").add(*steps(ATOMS)), broken)

    job = runs.run(runs.post(make))

    assert job.state is JobState.REVERTED
    assert len(searches) <= 6


def test_a_large_flow_keeps_what_one_atom_can_see(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SCOPES_KEPT", 10)
    walkers: list[Any] = []
    original = scopes.ScopeWalker.__init__

    def noting(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        walkers.append(self)

    monkeypatch.setattr(scopes.ScopeWalker, "__init__", noting)

    def make() -> linear_flow.Flow:
        first = Note("first", [], provides="value")
        others = (Note(f"step{place}", [], requires=["value"]) for place in range(ATOMS))
        return linear_flow.Flow("flow").add(first, *others)

    job = runs.run(runs.post(make))

    assert job.state is JobState.SUCCEEDED
    assert len(walkers) == ATOMS + 1
    assert len([walker for walker in walkers if walker._predecessors is not None]) <= 1
