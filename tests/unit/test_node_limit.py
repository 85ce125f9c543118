"""How a node's limit is shared among its worker processes."""

from __future__ import annotations

import pytest

from jobrunner.config import Config


@pytest.mark.parametrize(
    ("conductor", "jobs"),
    [
        ({"processes": 4}, [16, 16, 16, 16]),
        ({"processes": 4, "max_running": 10}, [3, 3, 2, 2]),
        ({"processes": 4, "max_running": 2}, [1, 1]),
        ({"processes": 2, "jobs": 3, "max_running": 100}, [3, 3]),
        ({"processes": 2, "jobs": 4, "max_running": 7}, [4, 3]),
    ],
)
def test_the_workers_share_what_the_node_may_run(conductor: dict[str, int], jobs: list[int]) -> None:
    config = Config.model_validate({"conductor": conductor})
    assert [config.jobs_of(number) for number in range(config.processes)] == jobs


@pytest.mark.parametrize(
    ("limit", "jobs"), [(None, [2, 1, 1]), (2, [1, 1, 0]), (0, [0, 0, 0]), (9, [2, 1, 1])]
)
def test_what_somebody_limits_it_to_counts_if_it_is_less(limit: int | None, jobs: list[int]) -> None:
    config = Config.model_validate({"conductor": {"processes": 3, "max_running": 4}})
    assert [config.jobs_of(number, limit) for number in range(config.processes)] == jobs
