"""Limits as configurations say them: what goes before what, and whose word is taken back by whom."""

from __future__ import annotations

from jobrunner.persistence.nodes import report_node, set_drained
from jobrunner.persistence.permits import limits
from jobrunner.persistence.permits.configured import Configured
from jobrunner.persistence.permits.limits import configure
from jobrunner.persistence.permits.passing import sweep
from jobrunner.persistence.wishes import wishes
from jobrunner.policies import ANY_NUMBER
from tests.support.journals import NODE, Stage


def counts(stage: Stage) -> dict[str, tuple[int, int]]:
    return {one.name: (one.count, one.starts) for one in limits.read(stage.database)}


def test_what_is_set_goes_before_what_is_configured(stage: Stage) -> None:
    configure(stage.database, NODE, {"db": Configured(count=3), "api": Configured(starts=5, period_ms=1000)})
    assert counts(stage) == {"api": (1, 5), "db": (3, 0)}
    limits.write(stage.database, "db", count=2, default=ANY_NUMBER, rate=None)
    limits.write(stage.database, "api", count=None, default=ANY_NUMBER, rate=(0, 0))
    assert counts(stage) == {"api": (ANY_NUMBER, 0), "db": (2, 0)}
    configure(stage.database, NODE, {"db": Configured(count=7), "api": Configured(starts=5, period_ms=1000)})
    assert counts(stage)["db"] == (2, 0)
    assert limits.forget(stage.database, "db")
    assert limits.forget(stage.database, "api")
    assert counts(stage) == {"api": (1, 5), "db": (7, 0)}
    assert not limits.forget(stage.database, "db")


def test_a_rate_that_is_set_leaves_the_configured_count(stage: Stage) -> None:
    configure(stage.database, NODE, {"db": Configured(count=3)})
    limits.write(stage.database, "db", count=None, default=ANY_NUMBER, rate=(4, 1000))
    assert counts(stage) == {"db": (3, 4)}


def test_a_node_takes_back_its_own_word_only(stage: Stage) -> None:
    configure(stage.database, "one", {"db": Configured(count=3), "api": Configured(count=4)})
    configure(stage.database, "two", {"api": Configured(count=5), "web": Configured(count=6)})
    assert counts(stage) == {"api": (5, 0), "db": (3, 0), "web": (6, 0)}
    configure(stage.database, "one", {})
    assert counts(stage) == {"api": (5, 0), "web": (6, 0)}
    configure(stage.database, "two", {})
    assert counts(stage) == {}
    sweep(stage.database)
    assert counts(stage) == {}


def test_what_is_configured_is_not_swept(stage: Stage) -> None:
    configure(stage.database, NODE, {"db": Configured(count=3)})
    sweep(stage.database)
    assert counts(stage) == {"db": (3, 0)}


def test_a_node_hears_of_its_own_limit(stage: Stage) -> None:
    assert wishes(stage.database, [], node=NODE).limit is None
    configure(
        stage.database, "other", {f"node:{NODE}": Configured(count=3), "node:other": Configured(count=1)}
    )
    assert wishes(stage.database, ["somebody"], node=NODE).limit == 3
    limits.write(stage.database, f"node:{NODE}", count=0, default=None, rate=None)
    found = wishes(stage.database, [], node=NODE)
    assert (found.limit, found.drained) == (0, False)
    limits.write(stage.database, f"node:{NODE}", count=ANY_NUMBER, default=None, rate=None)
    assert wishes(stage.database, [], node=NODE).limit is None


def test_a_drained_node_may_have_a_limit(stage: Stage) -> None:
    report_node(stage.database, NODE, "x", started_ms=1, report={})
    set_drained(stage.database, NODE, True)
    limits.write(stage.database, f"node:{NODE}", count=4, default=None, rate=None)
    found = wishes(stage.database, [], node=NODE)
    assert (found.limit, found.drained) == (4, True)
