"""TaskFlow's postings and claims as text, and what their boards are made from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taskflow.jobs import backends
from taskflow.jobs.base import JobPriority

from jobrunner.boards.taskflow.claims import MAX_OWNER, Claim, Claims, new_owner, who_is
from jobrunner.boards.taskflow.posting import MAX_BYTES, PRIORITIES, Posting, to_posting, to_text
from jobrunner.errors import ConfigError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def posting(**changes: Any) -> Posting:
    return Posting(**{"name": "job", "details": {}, "book": None, "created_ms": 1_700_000_000_000, **changes})


@given(st.text(), st.dictionaries(st.text(), JSON, max_size=4))
def test_a_posting_comes_back_as_it_was(name: str, details: dict[str, Any]) -> None:
    written = posting(name=name, details=details, book={"name": name, "uuid": "u"})
    text = to_text(written)
    assert text.isascii()
    assert to_posting(text) == written


@given(st.text() | JSON.map(json.dumps))
def test_whatever_is_read_gives_a_posting_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a posting"):
        to_posting(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7},
        {"details": []},
        {"details": None},
        {"book": "name"},
        {"book": {"name": "n"}},
        {"book": {"name": "n", "uuid": 7}},
        {"created_ms": "now"},
        {"created_ms": 10**30},
        {"created_ms": None},
    ],
)
def test_parts_of_another_kind_are_refused(changes: dict[str, Any]) -> None:
    content = json.loads(to_text(posting()))
    with pytest.raises(ValueError, match="not a posting"):
        to_posting(json.dumps(content | changes))


def test_a_posting_that_is_too_large_or_no_json_is_refused() -> None:
    assert len(to_text(posting(details={"x": "y" * (MAX_BYTES - 100)}))) <= MAX_BYTES
    with pytest.raises(ValueError, match="are the most"):
        to_text(posting(details={"x": "y" * MAX_BYTES}))
    endless: list[Any] = []
    endless.append(endless)
    for details in ({"x": object()}, {"x": float("inf")}, {"x": endless}, {("a", "b"): 1}):
        with pytest.raises(ValueError, match="JSON cannot hold it"):
            to_text(posting(details=details))


def test_every_priority_of_taskflow_has_its_rank() -> None:
    assert tuple(JobPriority) == PRIORITIES


@given(st.text(max_size=15))
def test_an_owner_tells_who_it_is_and_is_never_the_same(who: str) -> None:
    owners = {new_owner(who) for _ in range(3)}
    assert len(owners) == 3
    assert {who_is(owner) for owner in owners} == {who}
    assert all(owner.isascii() and len(owner) <= MAX_OWNER for owner in owners)


@pytest.mark.parametrize("text", ["", "nobody", 'x/"', "x/\\u12"])
def test_an_owner_that_cannot_be_read_is_told_as_it_stands(text: str) -> None:
    assert who_is(text) in (text, "")


def test_a_settled_claim_does_not_take_its_successor_with_it() -> None:
    claims = Claims()
    first, second = (Claim(job_id="job", who="me", lease=1, is_kept=True) for _ in range(2))
    claims.add(first)
    claims.add(second)
    claims.settle(first)
    assert claims.lose([first]) == []
    assert claims.kept() == [second]
    assert claims.lose([second]) == [second]
    assert (claims.kept(), claims.get("job")) == ([], second)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "names no server"),
        ({"connection": 7}, "names no server"),
        ({"url": "redis"}, "names no server"),
        ({"lease": 0}, "lease 0 is not valid"),
        ({"lease": "soon"}, "lease 'soon' is not valid"),
        ({"lease": float("inf")}, "lease inf is not valid"),
        ({"namespace": "a b"}, "namespace 'a b' is not valid"),
        ({"namespace": "{x}"}, "is not valid"),
        ({"namespace": "x" * 65}, "is not valid"),
    ],
)
@pytest.mark.parametrize("kind", ["redis", "sql"])
def test_a_configuration_that_is_not_valid_says_what_is_wrong(
    kind: str, conf: dict[str, Any], message: str
) -> None:
    url = {"redis": "redis://localhost/0", "sql": "sqlite:///x"}[kind]
    given_conf = conf if message == "names no server" else {"connection": url, **conf}
    with pytest.raises(ConfigError, match=message) as caught:
        backends.fetch("board", {"board": f"jobrunner-{kind}", **given_conf})
    assert caught.value.hint


def test_settings_may_be_text_as_in_a_uri() -> None:
    board = backends.fetch("board", "jobrunner-redis://x/?url=redis://localhost/0&lease=2.5&namespace=n")
    assert board._lease == 2.5
    assert not board.connected
    board.close()
