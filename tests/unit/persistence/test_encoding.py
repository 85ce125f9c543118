"""JSON as the store keeps it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobrunner.errors import CorruptRow, NotStorable
from jobrunner.persistence.encoding import clean, clip, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_is_accepted_comes_back_unchanged(value: object) -> None:
    text = encode(value)
    assert text.isascii()
    assert decode(text) == value


@given(st.text(alphabet=st.characters(categories=["Cs"]), min_size=1))
def test_half_characters_are_refused_wherever_they_stand(text: str) -> None:
    for value in (text, [text], {"key": text}, {text: 1}):
        with pytest.raises(NotStorable, match="cannot be stored as JSON"):
            encode(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, {"b": object()}]}, r"a object at \['a'\]\[1\]\['b'\] is not JSON"),
        (float("inf"), "inf is no number in JSON"),
        ({(1, 2): 3}, "keys must be"),
        (b"bytes", "a bytes is not JSON"),
    ],
)
def test_the_fault_and_its_place_are_named(value: object, words: str) -> None:
    with pytest.raises(NotStorable, match=words) as caught:
        encode(value, what="The result")
    assert str(caught.value).startswith("The result cannot be stored")
    assert caught.value.hint


def test_what_nests_without_end_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(NotStorable):
        encode(endless)
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotStorable, match="levels deep"):
        encode(deep)


def test_the_limit_counts_what_is_written() -> None:
    assert encode("x" * 8, limit=10) == '"xxxxxxxx"'
    with pytest.raises(NotStorable, match="11 bytes, and at most 10 are allowed"):
        encode("x" * 9, limit=10)
    with pytest.raises(NotStorable, match="too large"):
        encode("é" * 2, limit=10)


def test_text_that_is_not_json_is_corrupt() -> None:
    with pytest.raises(CorruptRow, match=r"The row holds text that is not JSON: '\{'"):
        decode("{")
    assert decode(None) is None


@given(st.text(), st.integers(min_value=0, max_value=300))
def test_clipped_text_keeps_within_its_limit_and_both_ends(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        assert clipped == data.decode()
    else:
        assert len(clipped.encode()) <= limit


def test_clipped_text_tells_how_much_is_missing() -> None:
    clipped = clip("a" * 500 + "b" * 500, 200)
    assert clipped.startswith("aaa")
    assert clipped.endswith("bbb")
    assert "880 bytes left out" in clipped


@given(st.text(alphabet=st.characters() | st.characters(categories=["Cs"])))
def test_cleaned_text_can_be_held_by_every_database(text: str) -> None:
    cleaned = clean(text)
    assert "\0" not in cleaned
    assert json.loads(encode(cleaned)) == cleaned
