"""What the configuration can say of limits, and what it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.config import Config, load_config
from jobrunner.errors import ConfigError
from jobrunner.policies import ANY_NUMBER


def limits(**section: Any) -> dict[str, tuple[int | None, tuple[int, int] | None]]:
    found = Config.model_validate({"limits": section}).limits.by_semaphore
    return {name: (limit.count, limit.starts) for name, limit in found.items()}


def test_a_limit_is_a_number_a_rate_or_both() -> None:
    said = {
        "db": 4,
        "none": 0,
        "all": "any",
        "mail": "10/1m",
        "api": {"count": "any", "rate": "5 / 1.5s"},
        "web": "1/1h30m",
    }
    assert limits(semaphores=said) == {
        "db": (4, None),
        "none": (0, None),
        "all": (ANY_NUMBER, None),
        "mail": (None, (10, 60_000)),
        "api": (ANY_NUMBER, (5, 1500)),
        "web": (None, (1, 5_400_000)),
    }


def test_each_kind_has_the_name_that_the_command_has_for_it() -> None:
    assert limits(types={"export": 1}, nodes={"worker-1": 2}, tags={"customer=acme": "1/1h"}) == {
        "type:export": (1, None),
        "node:worker-1": (2, None),
        "tag:customer=acme": (None, (1, 3_600_000)),
    }


def test_it_survives_the_way_to_a_worker() -> None:
    config = Config.model_validate({"limits": {"semaphores": {"db": "2/1m", "x": "any"}}})
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_a_variable_holds_it_as_json() -> None:
    config = load_config(
        environ={"JOBRUNNER_LIMITS__SEMAPHORES": '{"db": 4}', "XDG_CONFIG_HOME": "/none"}
    ).config
    assert config.limits.semaphores["db"].count == 4


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"semaphores": {"db": -1}}, "limits.semaphores.db"),
        ({"semaphores": {"db": True}}, "a number, any, a rate"),
        ({"semaphores": {"db": 1.5}}, "a number, any, a rate"),
        ({"semaphores": {"db": {}}}, "a number, any, a rate"),
        ({"semaphores": {"db": "10/1y"}}, "'10/1y' is no rate"),
        ({"semaphores": {"db": "0/1m"}}, "'0/1m' is no rate"),
        ({"semaphores": {"db": "x/1m"}}, "'x/1m' is not a rate such as 10/1m"),
        ({"semaphores": {"db": {"cuont": 1}}}, "limits.semaphores.db.cuont: there is no such key"),
        ({"semaphores": {"type:export": 1}}, "belongs into limits.types"),
        ({"semaphores": {" ": 1}}, "cannot name"),
        ({"nodes": {"worker-1": "1/1m"}}, "cannot have a rate"),
        ({"tags": {"acme": 1}}, "a tag is name=value"),
        ({"semaphores": "{"}, "JSON"),
        ({"semaphore": {"db": 1}}, "did you mean semaphores?"),
    ],
)
def test_what_makes_no_sense_is_said_in_words(section: dict[str, Any], words: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(
            environ={"XDG_CONFIG_HOME": str(tmp_path)}, flags={f"limits.{k}": v for k, v in section.items()}
        )
    assert words in raised.value.message
