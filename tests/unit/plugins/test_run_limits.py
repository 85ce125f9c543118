"""What a run may use: as people write it, and a posting's over its type's."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.errors import PluginError
from jobrunner.plugins.decorators import job
from jobrunner.plugins.registry import Loading, Registry, registering
from jobrunner.plugins.run_limits import run_limits
from jobrunner.policies import DEAD_BELOW, GRACE_S, LEAST_MEMORY, Policies, RunLimits


def test_sizes_durations_and_users_are_read_as_people_write_them() -> None:
    found = run_limits(memory="512MB", dead_after="10m", run_as="www-data:adm", grace="1m30s", dead_below=2.5)
    assert found == RunLimits(
        memory=512_000_000, dead_after=600.0, user="www-data", group="adm", grace=90.0, dead_below=2.5
    )
    assert found.account == "www-data:adm"
    assert run_limits() is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"isolation": "jail"}, "isolation is 'jail', and can be thread or process"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
        ({"memory": "1MB"}, "memory is 1000000, .* 134,217,728 at least"),
        ({"memory": 2**63}, "4,611,686,018,427,387,904 at most"),
        ({"grace": "99999d"}, "1,000,000,000 at most"),
        ({"dead_after": "soon"}, "dead_after: 'soon' is not a duration"),
        ({"dead_after": -1}, "dead_after is -1"),
        ({"dead_after": float("nan")}, "dead_after"),
        ({"grace": "-1s"}, "grace is -1"),
        ({"run_as": ":adm"}, "run_as is ':adm'"),
        ({"run_as": "a:"}, "run_as is 'a:'"),
        ({"run_as": "a b"}, "cannot be the name of a user"),
        ({"isolation": "thread", "memory": "1GB"}, "isolation cannot be thread"),
    ],
)
def test_what_makes_no_sense_is_refused_in_plain_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_limits(**given)


def test_a_job_type_with_wrong_limits_is_a_plugins_error() -> None:
    def sized() -> None:
        """A factory."""

    registry = Registry()
    with registering(Loading(registry=registry, sources={})):
        with pytest.raises(PluginError, match=r"the limits of .*sized: memory: 'big' is not a size"):
            job(memory="big")(sized)
        job(memory="1GiB")(sized)
    assert registry.job_types["sized"].policies == Policies(run=RunLimits(memory=1 << 30))


@pytest.mark.parametrize(
    "limits", [{"memory": LEAST_MEMORY}, {"dead_after": 1.0}, {"user": "a"}, {"grace": 0.0}]
)
def test_any_limit_means_a_process_of_its_own(limits: dict[str, Any]) -> None:
    assert RunLimits(**limits).own_process
    assert not RunLimits().own_process
    assert not RunLimits(isolation="thread").own_process


def test_what_is_left_open_has_defaults() -> None:
    assert (RunLimits().grace_s, RunLimits().dead_below_percent) == (GRACE_S, DEAD_BELOW)


def test_a_postings_limits_go_over_its_types() -> None:
    type_ = RunLimits(isolation="process", memory=1 << 30, user="a", group="b", grace=GRACE_S)
    assert RunLimits(memory=1 << 31).over(type_) == RunLimits(
        isolation="process", memory=1 << 31, user="a", group="b", grace=GRACE_S
    )
    assert RunLimits(user="c").over(type_).account == "c"
    assert RunLimits(grace=1.0).over(None) == RunLimits(grace=1.0)
    with pytest.raises(ValueError, match="isolation cannot be thread"):
        RunLimits(isolation="thread").over(type_)
    assert RunLimits(isolation="thread").over(RunLimits(isolation="process")).isolation == "thread"


def test_they_come_back_from_json_as_they_were() -> None:
    policies = Policies(run=RunLimits(isolation="process", memory=1 << 30, dead_after=5.0, user="a"))
    assert Policies.from_json(policies.to_json()) == policies
    with pytest.raises(ValueError, match="memory is 'x'"):
        Policies.from_json({"run": {"memory": "x"}})
