"""A job type's preferred node."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from taskflow.patterns import linear_flow

from jobrunner.errors import PluginError
from jobrunner.plugins.decorators import job
from jobrunner.plugins.placing import placement
from jobrunner.plugins.registry import Registry
from jobrunner.policies import Placement, Policies


def rebuild() -> linear_flow.Flow:
    """Rebuild."""
    return linear_flow.Flow("rebuild")


def test_a_type_says_where_its_jobs_run_first(registry: Registry) -> None:
    job(prefer="db1", failover="10m")(rebuild)
    assert registry.job_types["rebuild"].policies.placement == Placement(prefer="db1", failover=600)


def test_without_a_node_there_is_no_preference_and_the_time_has_a_default() -> None:
    assert placement(None) is None
    assert placement("db1") == Placement(prefer="db1")
    assert placement("db1", timedelta(minutes=2)) == Placement(prefer="db1", failover=120)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prefer": "no such name"}, "node's name"),
        ({"prefer": 3}, "node's name"),
        ({"prefer": "db1", "failover": "soon"}, "failover"),
        ({"failover": "1m"}, "name that: prefer"),
    ],
)
def test_what_is_no_placement_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        job(**given)(rebuild)


def test_a_posting_may_say_that_it_prefers_no_node() -> None:
    of_type = Policies(placement=Placement(prefer="db1"))
    assert Policies().over(of_type).placement == Placement(prefer="db1")
    assert Policies(placement=Placement()).over(of_type).placement == Placement()
