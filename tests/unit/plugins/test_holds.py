"""Semaphores as people write them, and what a job type says of them."""

from __future__ import annotations

from typing import Any

import pytest
from taskflow.patterns import linear_flow

from jobrunner.errors import InvalidParameters, PluginError
from jobrunner.jobs.envelope import check_envelope
from jobrunner.jobs.unique import unique_key
from jobrunner.model import Posting
from jobrunner.plugins import job
from jobrunner.plugins.holds import holds_of, merged, parse_hold
from jobrunner.plugins.registry import JobType, default_registry
from jobrunner.policies import ANY_NUMBER, Hold, Policies


@pytest.mark.parametrize(
    ("text", "hold"),
    [
        ("db", Hold(name="db")),
        ("db:2", Hold(name="db", units=2)),
        ("db:shared", Hold(name="db", shared=True)),
        ("type:backup", Hold(name="type:backup")),
        ("type:backup:3", Hold(name="type:backup", units=3)),
        (" tag:customer=Acme Inc ", Hold(name="tag:customer=Acme Inc")),
    ],
)
def test_a_hold_is_read_as_it_was_meant(text: str, hold: Hold) -> None:
    assert parse_hold(text) == hold
    assert Policies.from_json(Policies(holds=(hold,)).to_json()).holds == (hold,)


@pytest.mark.parametrize("text", ["", "  ", ":2", "db:0", "db:99999999", "x" * 201, "a\nb"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"semaphore|held"):
        parse_hold(text)


def test_holds_of_one_name_are_one_and_the_last_stays() -> None:
    assert holds_of(["b", "a", "a:2"]) == (Hold(name="a", units=2), Hold(name="b"))
    assert merged([Hold(name="a")], [Hold(name="a", shared=True)]) == (Hold(name="a", shared=True),)


def flow_of(name: str) -> linear_flow.Flow:
    return linear_flow.Flow(name)


def declared(**options: Any) -> JobType:
    @job(**options)
    def declared_here(a: int = 1, b: str = "x") -> linear_flow.Flow:
        return flow_of("declared_here")

    return default_registry.get_type("declared_here")


@pytest.fixture(autouse=True)
def _clean() -> Any:
    yield
    default_registry.reset()


def test_a_type_says_what_its_jobs_hold() -> None:
    found = declared(holds=["db:2", Hold(name="x", shared=True)], max_running=3, rate="10/1m")
    assert found.holds == (
        Hold(name="db", units=2),
        Hold(name="type:declared_here", count=3, starts=10, period=60.0),
        Hold(name="x", shared=True),
    )


def test_a_rate_alone_lets_any_number_run() -> None:
    (hold,) = declared(rate="1/1s").holds
    assert hold.count == ANY_NUMBER


@pytest.mark.parametrize(
    "options",
    [
        {"holds": "db:0"},
        {"holds": [7]},
        {"max_running": 0},
        {"max_running": "many"},
        {"rate": "often"},
        {"unique": ()},
        {"unique": ("c",)},
    ],
)
def test_what_cannot_be_declared_is_a_problem_of_the_plugin(options: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="declared_here"):
        declared(**options)


def test_unique_jobs_share_a_key_if_what_counts_is_the_same() -> None:
    def key(found: JobType, **parameters: Any) -> str | None:
        return unique_key(found, Posting(type=found.name, parameters=parameters))

    by_a = declared(unique="a")
    assert by_a.unique == ("a",)
    assert key(by_a, a=1, b="x") == key(by_a, a=1, b="y") != key(by_a, a=2, b="x")
    default_registry.reset()
    by_all = declared(unique=True)
    assert key(by_all, a=1, b="x") == key(by_all) != key(by_all, a=1, b="y")
    default_registry.reset()
    assert key(declared(), a=1) is None


@pytest.mark.parametrize(
    "holds",
    [
        "db",
        (Hold(name="db", units=0),),
        (Hold(name=""),),
        (Hold(name="db", units="two"),),  # type: ignore[arg-type]
        (Hold(name="db", starts=1, period=float("nan")),),
        (Hold(name="db", count=None),),  # type: ignore[arg-type]
        ("db",),
        tuple(Hold(name=f"n{n}") for n in range(21)),
    ],
)
def test_holds_that_cannot_be_are_refused_when_posting(holds: Any) -> None:
    with pytest.raises(InvalidParameters):
        check_envelope(Posting(type="t", policies=Policies(holds=holds)))
