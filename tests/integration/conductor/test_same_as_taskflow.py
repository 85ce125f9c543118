"""Our engine runs what TaskFlow's runs, in the same order, to the same states: on flows made by chance."""

from __future__ import annotations

import pytest
from taskflow import engines

from jobrunner.model import JobState
from tests.support.random_flows import RandomFlow
from tests.support.runs import Runs

SEEDS = range(60)


def run_by_taskflow(made: RandomFlow) -> tuple[str, dict[str, str]]:
    """The flow's state and its atoms', as TaskFlow's own serial engine leaves them."""
    engine = engines.load(made.flow, engine="serial")
    try:
        engine.run()
    except Exception:  # noqa: BLE001 - what the flow raises is compared by what it leaves
        assert engine.storage.get_flow_state() in ("FAILURE", "REVERTED")
    atoms = [node.name for node in engine.compilation.execution_graph if hasattr(node, "revert")]
    return engine.storage.get_flow_state(), {name: engine.storage.get_atom_state(name) for name in atoms}


@pytest.mark.parametrize("in_a_row", [True, False])
def test_it_runs_and_leaves_what_taskflow_does(runs: Runs, in_a_row: bool) -> None:
    ends = set()
    for seed in SEEDS:
        stock = RandomFlow(seed, in_a_row=in_a_row)
        state, atoms = run_by_taskflow(stock)
        ours = RandomFlow(seed, in_a_row=in_a_row)

        job = runs.run(runs.post(ours.factory))
        assert runs.flow_state(job.id) == state, f"seed {seed}"
        assert runs.states(job.id) == atoms, f"seed {seed}"
        if in_a_row:
            assert ours.calls == stock.calls, f"seed {seed}"
        else:  # what may run side by side has no order
            assert sorted(ours.calls) == sorted(stock.calls), f"seed {seed}"
        ends.add(job.state)
    assert ends >= ({JobState.SUCCEEDED, JobState.REVERTED} if in_a_row else {JobState.SUCCEEDED})
