from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobrunner.cli import text


def acts_on_terminal(words: str, *, lines: bool = False) -> bool:
    allowed = "\n\t" if lines else ""
    return any(
        (
            ord(sign) < 32
            or 127 <= ord(sign) < 160
            or 0xD800 <= ord(sign) < 0xE000
            or sign in "\u2028\u2029\u202e\u2066"
        )
        and sign not in allowed
        for sign in words
    )


ANYTHING = st.text(st.characters())


@given(ANYTHING)
def test_clean_text_cannot_act_on_a_terminal(words: str) -> None:
    assert not acts_on_terminal(text.clean(words))


@given(ANYTHING)
def test_clean_lines_cannot_act_on_a_terminal(words: str) -> None:
    assert not acts_on_terminal(text.clean_lines(words), lines=True)


@given(ANYTHING)
def test_json_cannot_act_on_a_terminal_and_stays_the_same_value(words: str) -> None:
    printed = text.to_json({"value": words}, indent=None)
    assert not acts_on_terminal(printed)
    assert json.loads(printed) == {"value": words}


def test_escapes_are_shown() -> None:
    assert text.clean("a\x1b[2Jb\nc\x9bd\u202ee") == "a\\x1b[2Jb\\nc\\x9bd\\u202ee"


def test_lines_keep_their_ends_and_lose_their_colours() -> None:
    assert text.clean_lines("\x1b[1;31mred\x1b[0m\r\n10%\r20%\tdone\n\x1b]0;title\x07") == (
        "red\n10%\n20%\tdone\n\\x1b]0;title\\x07"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (-3, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.9, "1m00s"),
        (185, "3m05s"),
        (3599.9, "1h00m"),
        (7_380, "2h03m"),
        (352_800, "4d02h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, words: str) -> None:
    assert text.duration(seconds) == words


def test_a_time_that_is_none_does_not_break_the_page() -> None:
    assert text.moment(10**20) == f"{10**20} ms"
    assert text.moment(None) == ""


def test_ago_looks_both_ways() -> None:
    assert text.ago(1_000, 61_000) == "1m00s ago"
    assert text.ago(61_000, 1_000) == "in 1m00s"


def test_width_counts_columns() -> None:
    assert text.width("日本") == 4
    assert text.width("e\u0301") == 1
