"""What may be a name, and what may only be a line of text."""

from __future__ import annotations

import pytest

from jobrunner.names import is_line, is_name, may_be_stored


@pytest.mark.parametrize("text", ["a", "a b", "Straße 7", "名前", "=", "x" * 20])
def test_a_short_text_in_one_line_is_a_name(text: str) -> None:
    assert is_name(text, 20)
    assert is_line(text, 20)


@pytest.mark.parametrize("text", [" a", "a ", "\u3000a"])
def test_blanks_around_it_make_it_a_line_at_best(text: str) -> None:
    assert not is_name(text, 20)


@pytest.mark.parametrize(("text", "may"), [("é\n😀", True), ("", True), ("a\0", False), ("\udcff", False)])
def test_what_databases_never_take(text: str, may: bool) -> None:
    assert may_be_stored(text) is may


def test_blanks_around_it_leave_it_a_line() -> None:
    assert is_line(" a ", 20)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\0", "\x1b[31m", "\ud800", "x" * 21, None, 7, b"a"])
def test_what_is_empty_long_or_unprintable_is_neither(text: object) -> None:
    assert not is_line(text, 20)
    assert not is_name(text, 20)
